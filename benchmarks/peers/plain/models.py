from django.contrib.auth.models import AbstractUser
from django.db import models
from rest_framework_api_key.models import AbstractAPIKey


class User(AbstractUser):
    is_deleted = models.BooleanField(default=False)
    deleted_at = models.DateTimeField(null=True)


class UserAPIKey(AbstractAPIKey):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")


class Event(models.Model):
    at = models.DateTimeField(db_index=True)
    action = models.CharField(max_length=64)
    actor_id = models.BigIntegerField(db_index=True)
    subject_id = models.BigIntegerField(db_index=True)
    facts = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.action
