"""The user, its sessions and its groups. User has no foreign key: the database cascades *to* it."""

from typing import Any

from django.contrib.auth.hashers import acheck_password, check_password
from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin
from django.contrib.auth.validators import ASCIIUsernameValidator
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models import DB_CASCADE, Q
from django.db.models.functions import Lower
from uuid_utils.compat import uuid7

from accounts.hashers import DemoPasswordHasher
from accounts.managers import LiveUserManager, UserManager


class User(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    username = models.CharField(max_length=150, validators=[ASCIIUsernameValidator()])
    email = models.EmailField(blank=True)
    name = models.CharField(max_length=150, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    is_deleted = models.BooleanField(default=False)
    deleted_at = models.DateTimeField(null=True, blank=True)
    date_joined = models.DateTimeField()
    groups = models.ManyToManyField(  # type: ignore[assignment]
        "auth.Group", through="accounts.UserGroup", related_name="users", blank=True
    )
    # Permissions come through groups: a table of single grants would tie users to a chain of
    # Python-level cascades, and nobody reviews single grants.
    user_permissions = None  # type: ignore[assignment]

    objects = UserManager()
    live = LiveUserManager()

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["email"]

    class Meta:
        ordering = ["-date_joined", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["username"],
                condition=Q(is_deleted=False),
                name="live_username_is_unique",
                violation_error_message="A user with this username exists.",
            ),
            models.UniqueConstraint(
                Lower("email"),
                condition=Q(is_deleted=False) & ~Q(email=""),
                name="live_email_is_unique",
                violation_error_message="A user with this e-mail address exists.",
            ),
        ]
        indexes = [
            models.Index(
                fields=["-deleted_at"], condition=Q(is_deleted=True), name="deleted_users_by_time"
            ),
        ]
        permissions = [
            ("restore_user", "Can restore deleted users"),
            ("erase_user", "Can erase users for ever"),
        ]

    def __str__(self) -> str:
        # Never the name or the address: this text ends up in the admin's history.
        return f"user {self.id}"

    def check_password(self, raw_password: str | None) -> bool:
        # Django hashes a password anew at sign-in unless the preferred hasher made it, and would so
        # turn one that only the demo knows into one that production accepts.
        if self.has_demo_password:
            return check_password(raw_password, self.password)
        return super().check_password(raw_password)

    async def acheck_password(self, raw_password: str | None) -> bool:
        if self.has_demo_password:
            return await acheck_password(raw_password, self.password)
        return await super().acheck_password(raw_password)

    @property
    def has_demo_password(self) -> bool:
        """Whether the demo made the password up, so that production never accepts it."""
        return self.password.startswith(f"{DemoPasswordHasher.algorithm}$")

    def get_full_name(self) -> str:
        return self.name or self.username

    def get_short_name(self) -> str:
        return self.username


class UserGroup(models.Model):
    """The explicit form of User.groups, so that its keys cascade in the database."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, DB_CASCADE, related_name="+")
    group = models.ForeignKey("auth.Group", DB_CASCADE, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "group"], name="one_membership_per_group"),
        ]

    def __str__(self) -> str:
        return f"group {self.group_id}"


class Session(AbstractBaseSession):
    """A sign-in. The user's column lets a deletion end every session in its own transaction."""

    user = models.ForeignKey(User, DB_CASCADE, null=True, related_name="sessions")

    @classmethod
    def get_session_store_class(cls) -> Any:
        from accounts.sessions import SessionStore

        return SessionStore


class DeletedUser(User):
    """The users whose deletion has been asked for, as staff review them."""

    class Meta:
        proxy = True
        verbose_name = "deleted account"
        default_permissions = ["view"]
