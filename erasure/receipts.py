"""Receipts: the signed statement of what a finished erasure removed, kept and told to whom.

A receipt is signed in the transaction of the erasure. Only its signature is stored, and the digest
of its ``Statement``, the part that thousands of receipts have in common; the rest is rebuilt from
the request's row. So a row that somebody changes later no longer has a receipt that verifies.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quote
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from erasure import signing
from erasure.grounds import describe_grounds
from erasure.ledger import open_ledger
from erasure.models import DeletionRequest, Statement

SOFTWARE = "Sexton 0.1"
BASIS = "Art. 17(1) GDPR"


class ReceiptMissing(Exception):
    """The deletion is not finished, or was finished without a receipt."""


class Signable(Protocol):
    """What a receipt is made from: a deletion request's row, or ``Finished``."""

    @property
    def id(self) -> UUID: ...
    @property
    def subject_kind(self) -> str: ...
    @property
    def subject_id(self) -> UUID: ...
    @property
    def generation(self) -> int: ...
    @property
    def channel(self) -> str: ...
    @property
    def requested_by_kind(self) -> str: ...
    @property
    def requested_at(self) -> datetime: ...
    @property
    def started_at(self) -> datetime | None: ...
    @property
    def finished_at(self) -> datetime | None: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def along(self) -> Mapping[str, Any]: ...
    @property
    def told(self) -> Sequence[str]: ...
    @property
    def searched(self) -> Mapping[str, Any]: ...
    @property
    def ledger_entry(self) -> UUID | None: ...


class Finished(NamedTuple):
    """A request as it will be when its transaction commits, for whoever has no instance of it."""

    id: UUID
    subject_kind: str
    subject_id: UUID
    generation: int
    channel: str
    requested_by_kind: str
    requested_at: datetime
    started_at: datetime
    finished_at: datetime
    counts: Mapping[str, int]
    told: Sequence[str] = ()
    ledger_entry: UUID | None = None
    searched: Mapping[str, Any] = {}
    along: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Wording:
    """A statement, ready to be put into payloads."""

    digest: str
    content: dict[str, Any]
    header: bytes
    issuer: str
    claims: str
    backup_days: int


def payload(request: DeletionRequest) -> bytes:
    """Return what the receipt of a finished request says: canonical JSON, the same bytes always.

    Raises ReceiptMissing.
    """
    return _write_payload(request, _wording_of(request))


def receipt_of(request: DeletionRequest) -> str:
    """Return the receipt of a finished deletion as a compact JWS. Raises ReceiptMissing."""
    wording = _wording_of(request)
    signed = _signing_input(wording, _write_payload(request, wording))
    return f"{signed.decode()}.{signing.encode(bytes(request.signature or b''))}"


def verify(jws: str, keys: Iterable[signing.Jwk]) -> dict[str, Any]:
    """Return the claims of a receipt; raises InvalidReceipt, or UnknownKey as one kind of it."""
    claims = json.loads(signing.verify_compact(jws, keys))
    if not isinstance(claims, dict):
        raise signing.InvalidReceipt("Its payload is no object.")
    return claims


def sign_many(requests: Sequence[Signable], *, is_kept: bool = False) -> list[tuple[bytes, str]]:
    """Sign the receipts of requests that complete in the caller's transaction.

    Returns signature and statement's digest of each, in order. One INSERT, which writes wordings
    that are new and leaves the others alone, unless ``is_kept`` says that ``keep_wordings`` has
    done so before; nothing is asked for each request.
    """
    key = signing.signing_key()
    wordings = {kind: _present_wording(kind) for kind in {one.subject_kind for one in requests}}
    if not is_kept:
        _keep_statements(wordings.values())
    sign = key.private.sign
    signed = []
    for request in requests:
        wording = wordings[request.subject_kind]
        text = _write_payload(request, wording)
        signed.append((sign(_signing_input(wording, text)), wording.digest))
    return signed


def keep_wordings(kinds: Iterable[str]) -> None:
    """Write down what receipts of some kinds say now, once for many sets that are to be signed."""
    _keep_statements([_present_wording(kind) for kind in kinds])


def sign_again(request: DeletionRequest) -> None:
    """Sign a finished request anew after its row has learnt something: the result of a residual
    search, or who was told. Call it in the transaction that writes that.

    The statement stays as it was given, under the key of now. Raises ReceiptMissing. Whoever calls
    makes sure that the receipt was genuine before: ``forbid_changed`` does.
    """
    key = signing.signing_key()
    content = _wording_of(request).content
    wording = _ready({**content, "header": {**content["header"], "kid": key.kid}})
    _keep_statements([wording])
    request.signature = key.private.sign(_signing_input(wording, _write_payload(request, wording)))
    request.statement = wording.digest
    request.save(update_fields=["signature", "statement"])


def forbid_changed(request: DeletionRequest) -> None:
    """Raise InvalidReceipt when a request's row is not what was signed, UnknownKey when its key is
    not at hand, ReceiptMissing when nothing was signed."""
    try:
        receipt = receipt_of(request)
    except _UNSPELLABLE as error:
        raise signing.InvalidReceipt(f"Its row cannot be read: {error}") from error
    verify(receipt, signing.key_set()["keys"])


def _write_payload(request: Signable, wording: Wording) -> bytes:
    # Written out and not dumped: a purge does it for thousands, in the order of canonical JSON.
    finished = request.finished_at
    if finished is None:
        raise ReceiptMissing
    counts = sorted(request.counts.items())
    removed = ",".join([f"{quote(label)}:{number}" for label, number in counts])
    along = f'"along":{_canonical(request.along)},' if request.along else ""
    entry = f'"{request.ledger_entry}"' if request.ledger_entry else "null"
    started = f'"{_time(request.started_at)}"' if request.started_at else "null"
    return (
        f'{{{along}"backups_until":"{_until(finished, wording.backup_days)}",'
        f'"channel":{quote(request.channel)},'
        f'"finished_at":"{_time(finished)}","generation":{request.generation},'
        f'"iat":{int(finished.timestamp())},"iss":{wording.issuer},"jti":"{request.id}",'
        f'"ledger_entry":{entry},'
        f'"removed":{{{removed}}},"requested_at":"{_time(request.requested_at)}",'
        f'"requested_by":{quote(request.requested_by_kind)},'
        f'"residual_search":{_canonical(request.searched) if request.searched else "null"},'
        f'"rows":{sum(request.counts.values())},'
        f'"started_at":{started},"statement":{wording.claims},'
        f'"sub":"{request.subject_kind}:{request.subject_id}",'
        f'"told":{_canonical(sorted(request.told)) if request.told else "[]"}}}'
    ).encode()


def _signing_input(wording: Wording, text: bytes) -> bytes:
    return wording.header + base64.urlsafe_b64encode(text).rstrip(b"=")


@lru_cache(maxsize=64)
def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


@lru_cache(maxsize=64)
def _until(finished: datetime, days: int) -> str:
    return (finished + timedelta(days=days)).astimezone(UTC).date().isoformat()


def _wording_of(request: DeletionRequest) -> Wording:
    if not request.statement or request.signature is None:
        raise ReceiptMissing
    return _stored_wording(request.statement)


_UNSPELLABLE = (
    Statement.DoesNotExist,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)
"""What writing a receipt raises from rows that no service can have written."""


@cache
def _stored_wording(digest: str) -> Wording:
    # Not its time, which may be none: the wording alone is signed.
    return _ready(Statement.objects.only("content").get(pk=digest).content)


def _present_wording(kind: str) -> Wording:
    """Return what receipts of a kind say now, by policies and settings."""
    return _compose(
        kind,
        signing.signing_key().kid,
        str(getattr(settings, "RECEIPT_ISSUER", "") or SOFTWARE),
        int(getattr(settings, "BACKUP_RETENTION_DAYS", 30)),
        open_ledger().identity,
    )


@cache
def _compose(kind: str, kid: str, issuer: str, backup_days: int, ledger: str) -> Wording:
    claims = {
        "backup_retention_days": backup_days,
        "basis": BASIS,
        "ledger": ledger or None,
        "software": SOFTWARE,
        **describe_grounds(kind),
    }
    header = {"alg": signing.ALGORITHM, "kid": kid, "typ": "JWT"}
    return _ready({"claims": claims, "header": header, "issuer": issuer})


def _ready(content: dict[str, Any]) -> Wording:
    text = _canonical(content)
    return Wording(
        digest=sha256(text.encode()).hexdigest(),
        content=content,
        header=signing.encode(_canonical(content["header"]).encode()).encode() + b".",
        issuer=_canonical(content["issuer"]),
        claims=_canonical(content["claims"]),
        backup_days=content["claims"]["backup_retention_days"],
    )


def _keep_statements(wordings: Iterable[Wording]) -> None:
    now = timezone.now()
    Statement.objects.bulk_create(
        [Statement(digest=one.digest, content=one.content, first_used_at=now) for one in wordings],
        ignore_conflicts=True,
    )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
