from django.conf import settings
from django.db import models
from django.db.models import DB_CASCADE, DB_SET_NULL, Q
from uuid_utils.compat import uuid7

from apikeys.querysets import ApiKeyQuerySet


class ApiKey(models.Model):
    """A credential of a user or of an organization, never of both.

    Only the digest of the secret is stored. An organization's key survives the person who made it,
    for it is the organization's; a user's key goes with the user.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(max_length=40, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, DB_CASCADE, null=True, blank=True, related_name="api_keys"
    )
    organization = models.ForeignKey(
        "organizations.Organization", DB_CASCADE, null=True, blank=True, related_name="api_keys"
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, DB_SET_NULL, null=True, blank=True, related_name="+"
    )
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(user=None, organization__isnull=False)
                | Q(user__isnull=False, organization=None),
                name="key_of_a_user_or_an_organization",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hint}"
