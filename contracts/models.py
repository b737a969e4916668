from django.db import models
from uuid_utils.compat import uuid7


class IdempotentAnswer(models.Model):
    """The first answer to a request that carried an Idempotency-Key, to be given again.

    ``scope`` is a digest of the credential and the key together: only who presents both finds the
    row, even when the credential died with the very account it deleted. Rows are kept for a day.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    scope = models.CharField(max_length=64, unique=True)
    fingerprint = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_index=True)
    running_until = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=bytes)

    class Meta:
        verbose_name = "idempotent answer"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"answer {self.status}"
