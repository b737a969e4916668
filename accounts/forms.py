"""The forms in which staff create and change users."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm, UsernameField

from accounts.models import User


class _NamesAreFree:
    """A username and an address are unique among live users; the names of deleted ones are free."""

    instance: User
    cleaned_data: dict[str, Any]

    def clean_username(self) -> str:
        username: str = self.cleaned_data["username"]
        if self._live_others().filter(username=username).exists():
            raise forms.ValidationError("A user with this username exists.")
        return username

    def clean_email(self) -> str:
        email: str = User.objects.normalize_email(self.cleaned_data.get("email"))
        if email and self._live_others().filter(email__iexact=email).exists():
            raise forms.ValidationError("A user with this e-mail address exists.")
        return email

    def _live_others(self) -> Any:
        if self.instance.is_deleted:
            return User.objects.none()
        return User.objects.filter(is_deleted=False).exclude(pk=self.instance.pk)


class NewUserForm(_NamesAreFree, AdminUserCreationForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = ("username", "email", "name")
        field_classes = {"username": UsernameField}
        labels = {"email": "E-mail address"}


class UserForm(_NamesAreFree, UserChangeForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = ("username", "email", "name", "is_staff", "is_superuser")
        field_classes = {"username": UsernameField}
        labels = {
            "email": "E-mail address",
            "is_staff": "Staff",
            "is_superuser": "Superuser",
        }
        help_texts = {
            "is_staff": "May sign in here, and do what their groups allow.",
            "is_superuser": "May do everything.",
        }
