"""The pages that links in mails lead to: take a deletion back, and see how far it is.

Nothing changes on GET: mail scanners and previews open every link. Restoring is a POST with
Django's CSRF token. The addresses hold a signed token and name nobody.

    urlpatterns = [path("", include("erasure.pages")), …]
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe

from audit.actors import Actor, Origin
from erasure import links
from erasure.deleting import restore
from erasure.exceptions import DeletionError, DeletionNotFound, ReceiptNotReady, RestoreError
from erasure.models import DeletionRequest
from erasure.progress import read_receipt
from erasure.said import (
    INVALID,
    NO_RECEIPT,
    Said,
    describe_restore,
    explain_refusal,
    tell_progress,
)

CHANNEL = "restore-link"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
View = Callable[[HttpRequest, str], HttpResponse]


def guarded(view: View) -> View:
    """Keep a page out of caches, indexes, frames and other sites' referrers.

    Not ``no-referrer``: with it browsers send ``Origin: null``, which Django's CSRF check refuses.
    """

    @wraps(view)
    def shown(request: HttpRequest, token: str) -> HttpResponse:
        response = view(request, token)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["X-Robots-Tag"] = "noindex, nofollow"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Cache-Control"] = "no-store"
        return response

    return shown


@guarded
@csrf_protect
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_variables("token")
def restore_page(request: HttpRequest, token: str) -> HttpResponse:
    """Show what a restore would bring back, and on POST bring it back."""
    now = timezone.now()
    deletion = _find(links.RESTORE, token)
    if deletion is None:
        return _show(request, INVALID)
    if request.method != "POST":
        return _show(request, describe_restore(deletion, now))
    try:
        restore(
            actor=_actor(request, deletion),
            subject=deletion.subject,
            now=now,
            deletion_id=deletion.pk,
            by_link=True,
        )
    except (RestoreError, DeletionError):
        return _show(request, explain_refusal(deletion, now))
    # The page that a reload shows again, and which says that the account is back.
    return HttpResponseRedirect(reverse("erasure-restore", args=[token]), status=303)


@guarded
@never_cache
@require_safe
@sensitive_variables("token")
def progress_page(request: HttpRequest, token: str) -> HttpResponse:
    """Show how far a deletion is, and link its receipt when there is one."""
    deletion = _find(links.STATUS, token)
    said = INVALID if deletion is None else tell_progress(deletion, timezone.now())
    if said.receipt:
        said = replace(said, receipt=reverse("erasure-receipt", args=[token]))
    return _show(request, said)


@guarded
@never_cache
@require_safe
@sensitive_variables("token")
def receipt_page(request: HttpRequest, token: str) -> HttpResponse:
    """Hand out the receipt itself, as a file."""
    deletion = _find(links.STATUS, token)
    try:
        if deletion is None:
            raise DeletionNotFound
        receipt = read_receipt(deletion_id=deletion.pk, token=token)
    except DeletionNotFound:
        return _show(request, INVALID)
    except ReceiptNotReady:
        return _show(request, Said("There is no receipt yet", [NO_RECEIPT], 409))
    name = f"{links.spell_deletion(deletion.pk)}.jws"
    return HttpResponse(
        receipt,
        content_type="application/jose",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _find(purpose: str, token: str) -> Any:
    """Return the deletion that a token names, read ``with_hold``, or None."""
    named = links.read_link(purpose, token)
    if named is None:
        return None
    rows = DeletionRequest.objects.with_hold()
    return rows.filter(pk=named.deletion_id, generation=named.generation).first()


def _actor(request: HttpRequest, deletion: DeletionRequest) -> Actor:
    """Whoever holds the link acts as the subject itself: the link went to its addresses only."""
    return Actor(
        kind=deletion.subject_kind,
        id=deletion.subject_id,
        channel=CHANNEL,
        request_id=getattr(request, "request_id", ""),
        origin=Origin(user_agent=request.headers.get("User-Agent", "")[:255]),
    )


def _show(request: HttpRequest, said: Said) -> HttpResponse:
    return render(request, "erasure/page.html", {"said": said}, status=said.status)


urlpatterns = [
    path("restore/<str:token>", restore_page, name="erasure-restore"),
    path("deletions/<str:token>", progress_page, name="erasure-progress"),
    path("deletions/<str:token>/receipt", receipt_page, name="erasure-receipt"),
]
