"""The page that an invitation's link leads to: join with the account of that address, or with a new
one. Nothing changes on GET: mail scanners open every link.

Whoever has an account types its password here. That opens no session and shows nothing but whether
they joined; the address is limited as with failed keys.
"""

from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib.auth.validators import ASCIIUsernameValidator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from accounts.joining import (
    PasswordRefused,
    UserExists,
    find_invitee,
    join_with_password,
    sign_up_by_invitation,
)
from contracts.throttling import GuessThrottle
from erasure.exceptions import ActorGone
from erasure.pages import guarded
from organizations.exceptions import (
    AlreadyMember,
    InvitationNotFound,
    NotInvitee,
    OrganizationArchived,
)
from organizations.invitations import find_invitation


@dataclass(frozen=True)
class Shown:
    """What the page says, and the form that it offers, if any."""

    title: str
    paragraphs: list[str] = field(default_factory=list)
    form: Any = None
    secret: str = ""
    status: int = 200


INVALID = Shown(
    "This invitation does not hold",
    ["It was used or revoked, or it has expired. Ask whoever sent it for a new one."],
    status=404,
)
SLOW_DOWN = Shown("Too many attempts", ["Wait a minute and try again."], status=429)
ARCHIVED = Shown(
    "The organization is archived",
    ["Nobody can join it for now. The invitation holds until it expires."],
    status=409,
)


class Password(forms.Form):
    password = forms.CharField(widget=forms.PasswordInput(attrs={"autocomplete": "off"}))


class Account(forms.Form):
    username = forms.CharField(max_length=150, validators=[ASCIIUsernameValidator()])
    name = forms.CharField(max_length=150, required=False)
    password = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), strip=False
    )


@guarded
@csrf_protect
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password")
@sensitive_variables("token")
def invitation_page(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation, and on POST use it up."""
    try:
        shown = _join(request, token) if request.method == "POST" else _offer(token)
    except InvitationNotFound:
        shown = INVALID
    except OrganizationArchived:
        shown = ARCHIVED
    return render(request, "accounts/invitation.html", {"shown": shown}, status=shown.status)


def _offer(token: str, form: Any = None, status: int = 200) -> Shown:
    found = find_invitation(token, now=timezone.now())
    known = find_invitee(found)
    name = found.organization.name
    text = f"You were invited as {found.role}. " + (
        "Your account's password, please." if known else "Choose a name and a password."
    )
    return Shown(f"Join {name}", [text], form or (Password() if known else Account()), "", status)


def _join(request: HttpRequest, token: str) -> Shown:
    if not GuessThrottle().allow_request(request, None):  # type: ignore[arg-type]
        return SLOW_DOWN
    found = find_invitation(token, now=timezone.now())
    known = find_invitee(found) is not None
    form: Any = (Password if known else Account)(request.POST)
    if not form.is_valid():
        return _offer(token, form, 422)
    common: dict[str, Any] = {"token": token, "now": timezone.now()}
    common["request_id"] = getattr(request, "request_id", "")
    try:
        if known:
            join_with_password(**common, **form.cleaned_data)
            return Shown("You have joined", [f"You belong to {found.organization.name} now."])
        done = sign_up_by_invitation(**common, **form.cleaned_data)
    except PasswordRefused as error:
        form.add_error("password", list(error.reasons))
    except (ActorGone, NotInvitee):
        form.add_error("password", "This is not the account's password.")
    except UserExists:
        form.add_error("username", "Somebody has this name, or the invited address.")
    except AlreadyMember:
        return Shown("You belong to it already", status=409)
    else:
        welcome = f"You belong to {found.organization.name} now. This is your first API key:"
        return Shown("Welcome", [welcome], secret=done.secret)
    return _offer(token, form, 422)


urlpatterns = [path("invitations/<str:token>", invitation_page, name="invitation")]
