"""The forms that staff fill in before something happens to a subject."""

from datetime import date
from typing import Any

from django import forms
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.widgets import AdminDateWidget, AdminTextareaWidget
from django.core.validators import RegexValidator
from django.utils import timezone
from django.utils.text import capfirst

from audit.events import Reference
from erasure.references import read
from erasure.subjects import managing_kind

CASE_REFERENCE = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9#/_.-]{0,39}\Z",
    "Up to 40 letters, digits and # / _ . - without spaces, beginning with a letter or a digit.",
)


def text_input() -> forms.TextInput:
    return forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"})


class CaseForm(forms.Form):
    """Which case a change belongs to. Kept in the audit log for good, hence no free text."""

    reference = forms.CharField(
        label="Case reference",
        required=False,
        max_length=40,
        validators=[CASE_REFERENCE],
        help_text="Ticket or case number; no personal data",
        widget=text_input(),
    )


WHY = "Why, in your own words; erased with the person whom it is about"


class UndoForm(CaseForm):
    """For what can be taken back: beside the case, a reason in words of one's own."""

    reason = forms.CharField(required=False, max_length=500, help_text=WHY, widget=text_input())


class ReasonedActionForm(ActionForm):
    """The list's own choice of actions, with a reason for them."""

    reason = forms.CharField(
        label="",
        required=False,
        max_length=500,
        widget=forms.TextInput(
            attrs={
                "placeholder": "Reason",
                "aria-label": "Reason",
                "title": WHY,
                "size": 10,
                "autocomplete": "off",
            }
        ),
    )


class FinalForm(CaseForm):
    """For what cannot be undone: the reference is required, and so is a considered yes."""

    understood = forms.BooleanField(label="I understand that this cannot be undone")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reference"].required = True


class ProposalForm(CaseForm):
    """For what somebody else has to approve: the case by which they recognize it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reference"].required = True


class PlainForm(forms.Form):
    """Nothing to fill in: the button is the confirmation."""


class ReasonForm(forms.Form):
    """Why data must be kept, and until when that has to be looked at again."""

    reason = forms.CharField(
        max_length=2000,
        widget=AdminTextareaWidget,
        help_text="Why the data must be kept, with the case's number",
    )
    review_at = forms.DateField(
        label="Review on",
        widget=AdminDateWidget,
        help_text="When somebody looks again whether the hold is still needed",
    )

    def clean_review_at(self) -> date:
        day: date = self.cleaned_data["review_at"]
        if day < timezone.localdate():
            raise forms.ValidationError("This day has passed.")
        return day


class HoldForm(ReasonForm):
    subject = forms.CharField(
        max_length=60,
        help_text="A typed id such as usr_…, or the plain id of a subject",
        widget=text_input(),
    )
    field_order = ("subject", "reason", "review_at")

    def clean_subject(self) -> Reference:
        found = read(self.cleaned_data["subject"])
        if found is None:
            raise forms.ValidationError(
                "This is the id of nobody here. Ids look like usr_01h2xcej…, or are plain."
            )
        return found


class PauseForm(forms.Form):
    """What is paused, and why: everything, or one subject with whom it manages."""

    organization_id = forms.UUIDField(
        required=False,
        help_text="Its id. Leave empty to pause everything.",
        widget=text_input(),
    )
    reason = forms.CharField(
        max_length=2000,
        widget=AdminTextareaWidget,
        help_text="Why erasure must wait; everybody at the desk reads it",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["organization_id"].label = capfirst(managing_kind() or "subject")
