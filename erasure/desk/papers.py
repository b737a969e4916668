"""What staff take away from a deletion's page: the preview, the export, the receipt."""

import base64
import json
from datetime import date
from functools import partial
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format

from erasure.desk.foreseen import foresee
from erasure.desk.shown import name_rows, show_deletion, show_number, show_time, tell_kept
from erasure.desk.staff import actor_of
from erasure.exceptions import SubjectNotFound
from erasure.export import open_export
from erasure.models import DeletionRequest
from erasure.planner import make_plan
from erasure.receipts import ReceiptMissing, receipt_of

EXPORT = "erasure.export_subject"


def paths_of(desk: Any) -> list[Any]:
    """Return the addresses of the papers, below that of the request."""
    views = {"preview": preview, "export": export, "receipt": receipt, "receipt_file": jws}
    base = f"{desk.opts.app_label}_{desk.opts.model_name}"
    ends = {"receipt_file": "receipt.jws"}
    return [
        path(
            f"<uuid:pk>/{ends.get(name, f'{name}/')}",
            desk.admin_site.admin_view(partial(view, desk)),
            name=f"{base}_{name}",
        )
        for name, view in views.items()
    ]


def links_of(desk: Any, request: HttpRequest, row: DeletionRequest) -> list[tuple[str, str, bool]]:
    """Return the papers that a request's page offers: address, words, and whether it is asked for
    by POST."""
    is_open = row.state in DeletionRequest.OPEN
    links = []
    if is_open:
        links.append((desk.url_of("preview", row.pk), "Preview", False))
    if is_open and request.user.has_perm(EXPORT):
        links.append((desk.url_of("export", row.pk), "Export", True))
    if row.signature:
        links.append((desk.url_of("receipt", row.pk), "Receipt", False))
    return links


def preview(desk: Any, request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show what an erasure would take now. Reads only."""
    row = desk.get_open(request, pk)
    try:
        plan = make_plan(row.subject)
    except SubjectNotFound:
        desk.message_user(request, "It is gone already.", "WARNING")
        return HttpResponseRedirect(desk.url_of("change", pk))
    return desk.render_page(  # type: ignore[no-any-return]
        request,
        "erasure/desk/preview.html",
        title="What an erasure would take now",
        subtitle=desk.describe(row),
        plan=foresee(plan),
        back=desk.url_of("change", pk),
    )


def export(desk: Any, request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Answer with everything that is held on the subject; the export writes down who took it."""
    row = desk.get_open(request, pk)
    if request.method != "POST" or not request.user.has_perm(EXPORT):
        raise PermissionDenied
    try:
        archive = open_export(actor=actor_of(request), subject=row.subject, now=timezone.now())
    except SubjectNotFound as error:
        raise Http404 from error
    name = f"{show_deletion(row.pk)}.zip"
    # Staff's pages are never cached, downloads included.
    return FileResponse(archive, as_attachment=True, filename=name, content_type="application/zip")


def receipt(desk: Any, request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show a receipt's claims for people."""
    row = desk.get_open(request, pk)
    claims = _claims(_receipt_or_404(row))
    said = claims.get("statement") or {}
    return desk.render_page(  # type: ignore[no-any-return]
        request,
        "erasure/desk/receipt.html",
        title="Receipt",
        subtitle=desk.describe(row),
        deletion=show_deletion(row.pk),
        claims=claims,
        asked=show_time(parse_datetime(claims["requested_at"])),
        erased=show_time(parse_datetime(claims["finished_at"])),
        began=show_time(parse_datetime(claims["started_at"])) if claims["started_at"] else "",
        backups=date_format(date.fromisoformat(claims["backups_until"]), "j M Y"),
        rows=[(name, show_number(n)) for name, n in name_rows(claims.get("removed") or {})],
        kept=tell_kept(said.get("kept") or ()),
        said=said,
        file=desk.url_of("receipt_file", pk),
        back=desk.url_of("change", pk),
    )


def jws(desk: Any, request: HttpRequest, pk: UUID) -> HttpResponse:
    """Answer with the receipt itself, as any JOSE library reads it."""
    row = desk.get_open(request, pk)
    return _download(_receipt_or_404(row), f"{show_deletion(row.pk)}.jws", "application/jose")


def _receipt_or_404(row: DeletionRequest) -> str:
    try:
        return receipt_of(row)
    except ReceiptMissing as error:
        raise Http404 from error


def _claims(text: str) -> dict[str, Any]:
    """Read the claims without checking the signature: it is our own, made from this very row."""
    part = text.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def _download(content: Any, name: str, kind: str) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(content, content_type=kind, headers=headers)
