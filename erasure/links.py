"""Links that stand in mails. They are signed with the service's secret, so that nothing of them is
stored; they name a deletion and its generation, and nobody.

A link to restore dies with the grace period and works once, both because of the state of its
deletion. A link to the progress lives as long as the deletion's row. Neither does what the other
does.
"""

import hashlib
import hmac
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.urls import NoReverseMatch, reverse
from typeid import TypeID

from erasure.models import DeletionRequest
from erasure.typeids import read_id, read_uuid

RESTORE = "restore"
STATUS = "status"


class Named(NamedTuple):
    """What a link names."""

    deletion_id: UUID
    generation: int


def spell_deletion(deletion_id: UUID) -> str:
    """Return a deletion's id as people see it, such as ``del_01h2xcejqtf2nbrexx3vqjhp41``."""
    return str(TypeID.from_uuid(deletion_id, "del"))  # type: ignore[arg-type]


def read_deletion(text: str) -> UUID | None:
    """Return a deletion's id from ``del_…`` or a bare UUID, or None when the text is neither."""
    return read_uuid(text) or read_id("del", text)


def sign_link(purpose: str, request: DeletionRequest) -> str:
    """Return the token of a link for one purpose, ``RESTORE`` or ``STATUS``."""
    return _signer(purpose).sign(f"{request.pk.hex}-{request.generation}")


def read_link(purpose: str, token: str) -> Named | None:
    """Return what a token names, or None when it is not one of ours for this purpose.

    Costs no query, and the comparison takes the same time however wrong the token is.
    """
    try:
        deletion_id, _, generation = _signer(purpose).unsign(token).partition("-")
        return Named(UUID(deletion_id), int(generation))
    except (BadSignature, ValueError):
        return None


def opens_status(request: DeletionRequest, token: str) -> bool:
    """Whether a token shows the progress of a deletion: the one that whoever asked for it was
    given, of which a digest is kept, or the one in the mails to the subject."""
    given = hashlib.sha256(token.encode()).hexdigest()
    if request.status_digest and hmac.compare_digest(given, request.status_digest):
        return True
    return read_link(STATUS, token) == Named(request.pk, request.generation)


def restore_url(request: DeletionRequest) -> str:
    """Return the address at which a deletion can be undone; empty when no page is served."""
    return _absolute("erasure-restore", sign_link(RESTORE, request))


def status_url(request: DeletionRequest) -> str:
    """Return the address at which people see how far a deletion is; empty when none is served."""
    return _absolute("erasure-progress", sign_link(STATUS, request))


def _signer(purpose: str) -> Signer:
    return Signer(salt=f"erasure.links.{purpose}", sep=".")


def _absolute(name: str, token: str) -> str:
    """A mail has no request, and a Host header is nobody's word for where this service is."""
    base = getattr(settings, "ERASURE_BASE_URL", "").rstrip("/")
    try:
        return f"{base}{reverse(name, args=[token])}" if base else ""
    except NoReverseMatch:
        return ""
