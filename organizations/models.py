"""Foreign keys cascade in the database: whoever removes the organization's row removes it all."""

from django.conf import settings
from django.db import models
from django.db.models import DB_CASCADE, DB_SET_NULL, Q
from django.db.models.functions import Lower
from uuid_utils.compat import uuid7

from organizations.querysets import (
    LiveOrganizationManager,
    MembershipQuerySet,
    OrganizationQuerySet,
)


class Role(models.TextChoices):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class Organization(models.Model):
    """Has no owner column: ownership is a membership's role."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=150)
    slug = models.SlugField(max_length=60, db_index=False)
    is_active = models.BooleanField(default=True)
    is_deleted = models.BooleanField(default=False)
    deleted_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    objects = OrganizationQuerySet.as_manager()
    live = LiveOrganizationManager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["slug"],
                condition=Q(is_deleted=False),
                name="live_slug_is_unique",
                violation_error_message="An organization with this slug exists.",
            ),
        ]
        permissions = [
            ("restore_organization", "Can restore deleted organizations"),
            ("teardown_organization", "Can tear down organizations"),
        ]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, DB_CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, DB_CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.MEMBER)
    joined_at = models.DateTimeField()

    objects = MembershipQuerySet.as_manager()

    class Meta:
        ordering = ["joined_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "user"], name="one_membership_per_organization"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role}"


class Invitation(models.Model):
    """An open door for somebody who may not have an account yet. Holds a person's e-mail.

    ``sent_at`` is set when its mail is on the way, by whoever sends it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, DB_CASCADE, related_name="invitations")
    invited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, DB_SET_NULL, null=True, blank=True, related_name="+"
    )
    email = models.EmailField()
    role = models.CharField(max_length=16, choices=Role, default=Role.MEMBER)
    token_digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(Lower("email"), name="invitation_by_email"),
            models.Index(fields=["expires_at"], name="invitation_by_expiry"),
            models.Index(
                fields=["created_at"], condition=Q(sent_at=None), name="unsent_invitations"
            ),
        ]

    def __str__(self) -> str:
        return f"invitation {self.id}"


class ManagedUser(models.Model):
    """A user that an organization provisioned, and that goes when the organization goes."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, DB_CASCADE, related_name="managed_users")
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, DB_CASCADE, related_name="managed_membership"
    )
    external_id = models.CharField(max_length=150)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "external_id"],
                name="external_id_is_unique_per_organization",
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "id"], name="managed_users_by_organization"),
        ]

    def __str__(self) -> str:
        return f"managed user {self.id}"
