"""The forms that staff fill in."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm, UsernameField
from django.core.validators import RegexValidator

from accounts.models import User

CASE_REFERENCE = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9#/_.-]{0,39}\Z",
    "Up to 40 letters, digits and # / _ . - without spaces, beginning with a letter or a digit.",
)


class CaseForm(forms.Form):
    """Which case a change belongs to. Kept in the audit log for good, hence no free text."""

    reference = forms.CharField(
        label="Case reference",
        required=False,
        max_length=40,
        validators=[CASE_REFERENCE],
        help_text="Ticket or case number; no personal data",
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )


class FinalForm(CaseForm):
    """For what cannot be undone: the reference is required, and so is a considered yes."""

    understood = forms.BooleanField(label="I understand that this cannot be undone")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reference"].required = True


class PlainForm(forms.Form):
    """Nothing to fill in: the button is the confirmation."""


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
