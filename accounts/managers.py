from typing import TYPE_CHECKING, Any, Self

from django.contrib.auth.models import BaseUserManager
from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from accounts.models import User


class UserQuerySet(models.QuerySet["User"]):
    def live(self) -> Self:
        return self.filter(is_deleted=False, is_active=True)

    def deleted(self) -> Self:
        return self.filter(is_deleted=True)


class UserManager(BaseUserManager["User"].from_queryset(UserQuerySet)):  # type: ignore[misc]
    """Unfiltered, so that the admin, relations and ``dumpdata`` see the truth."""

    def create_user(self, username: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user; without a password nobody can sign in as them."""
        fields["email"] = self.normalize_email(fields.get("email", ""))
        fields.setdefault("date_joined", timezone.now())
        user: User = self.model(username=username, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, username: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(username, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        """Return the live user of a name; any number of deleted ones may have borne it too."""
        live: User = self.get_queryset().get(username=username, is_deleted=False)
        return live


class LiveUserManager(models.Manager["User"]):
    def get_queryset(self) -> UserQuerySet:
        return UserQuerySet(self.model, using=self._db).live()
