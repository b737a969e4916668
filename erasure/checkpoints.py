"""What the audit log is told by this room: which key signs its checkpoints, and where they go.

They go to the place where the ledger lies, which is outside the database, and to every webhook and
mail address that the settings name. Signed they are with the key that signs receipts, unless the
log has one of its own.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from urllib.request import Request, urlopen
from uuid import UUID

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.mail import send_mail

from audit.evidence import key_of
from audit.gaps import UnderWay, register_under_way
from audit.models import Checkpoint
from audit.notes import Signer, Verifier, read_jwk
from audit.publishing import Publisher, register_archive, register_publishers
from audit.signers import register_signer
from audit.spoiled import HasId
from erasure import signing
from erasure.exceptions import LedgerUnavailable
from erasure.finishing import LOGS
from erasure.ledger import Entry, open_ledger
from erasure.ledgerfile import FileLedger, write_safely
from erasure.ledgerstorage import StorageLedger
from erasure.models import DeletionRequest
from erasure.settling import is_begun, read_cursors

FOLDER = "checkpoints"
KEPT = 1_000
"""So many of the newest checkpoints are read again in any case."""

TIMEOUT = 10
WORDS = (
    "Keep this. With it anybody can show whether the audit log still says what it said now: save "
    "what follows as a file, and run manage.py verify_audit_log --since FILE."
)

Publish = Callable[[int, str], None]


def origin() -> str:
    """Return the name of this installation's log: the setting AUDIT_ORIGIN."""
    return str(getattr(settings, "AUDIT_ORIGIN", "") or "sexton/audit")


def sign() -> Signer:
    return Signer(origin(), signing.signing_key(_own_key()).private)


def verify() -> list[Verifier]:
    names = dict.fromkeys((origin(), *getattr(settings, "AUDIT_FORMER_ORIGINS", ())))
    return [read_jwk(jwk, name) for name in names for jwk in signing.key_set()["keys"]]


def publishers() -> Iterable[Publisher]:
    """Yield everybody that checkpoints go to, as the settings are now."""
    ledger = open_ledger()
    every = getattr(settings, "AUDIT_PUBLISH_EVERY", timedelta(minutes=5))
    if isinstance(ledger, FileLedger):
        yield Publisher("ledger", _save_beside(ledger), every)
    if isinstance(ledger, StorageLedger):
        yield Publisher("ledger", _save_in(ledger), every)
    for address in getattr(settings, "AUDIT_WEBHOOKS", ()):
        yield Publisher(f"webhook {address}"[:200], _post_to(address), every)
    mails = list(getattr(settings, "AUDIT_MAILS", ()))
    if mails:
        daily = getattr(settings, "AUDIT_MAIL_EVERY", timedelta(days=1))
        yield Publisher("mail", _mail_to(mails), daily)


def read_kept() -> Iterable[tuple[str, str]]:
    """Yield checkpoints that lie beside the ledger, as names and notes: the newest, and of the rest
    those that the database does not hold, for they tell of another history."""
    ledger = open_ledger()
    if isinstance(ledger, FileLedger):
        folder = _folder(ledger)
        for name in _telling([path.name for path in folder.glob("*.txt")]):
            yield str(folder / name), (folder / name).read_text()
    if isinstance(ledger, StorageLedger):
        try:
            names = ledger.storage.listdir(FOLDER)[1]
        except FileNotFoundError:
            return
        for name in _telling(names):
            with ledger.storage.open(f"{FOLDER}/{name}") as file:
                yield f"{FOLDER}/{name}", file.read().decode()


def set_aside(*, now: datetime) -> None:
    """Put the checkpoints beside the ledger away, under another name, for a database that starts
    over: what they tell of is a log that is gone."""
    ledger = open_ledger()
    if isinstance(ledger, FileLedger) and (folder := _folder(ledger)).is_dir():
        folder.rename(folder.with_name(f"{FOLDER}-until-{now:%Y%m%dT%H%M%S%f}"))


def _telling(names: Iterable[str]) -> Iterable[str]:
    rest = sorted(names)
    newest = rest[-KEPT:]
    if older := rest[:-KEPT]:
        held = Checkpoint.objects.values_list("size", "note").iterator(chunk_size=KEPT)
        known = {_name(size, note) for size, note in held}
        yield from (name for name in older if name not in known)
    yield from newest


def prepare_under_way() -> UnderWay:
    """Return how to find the subjects whose rows are going piece by piece.

    The event that accounts for it comes with the last piece. The ledger must know of each, for in
    the database anybody may say so; and what the ledger called done before a snapshot began has its
    event in that snapshot, or had it.
    """
    over = set[UUID]()
    if _find_begun():
        over = {entry.id for entry in _read_ledger() if entry.state in ("done", "void")}
    return partial(_find_under_way, over)


def _find_under_way(over: Collection[UUID]) -> Iterable[str]:
    begun = _find_begun()
    if not begun or not open_ledger():
        return {subject for subject, *_ in begun}
    known = set[tuple[str, ...]]()
    for entry in _read_ledger():
        subject = key_of(entry.kind, str(entry.subject_id))
        one = subject, str(entry.deletion_id), str(entry.id)
        if entry.id not in over and entry.state in ("intent", "done"):
            known.add(one)
        elif entry.state == "void":
            known.discard(one)
    return {one[0] for one in begun if one in known}


def _find_begun() -> set[tuple[str, ...]]:
    """Return subject, deletion and intent of what the database says is under way. Of an erasure
    that keeps the logs it accounts for nothing, and neither does a row that cannot be read."""
    rows = DeletionRequest.objects.open().filter(HasId("id"), HasId("subject_id"))
    return {
        (key_of(kind, str(subject)), str(pk), str(cursor.get("intent")))
        for cursor, pk, kind, subject in read_cursors(rows, "subject_kind", "subject_id")
        if is_begun(cursor) and LOGS not in str(cursor.get("spare"))
    }


def _read_ledger() -> Iterator[Entry]:
    with suppress(LedgerUnavailable):
        for _, entry in open_ledger().read():
            yield entry


def register() -> None:
    register_signer(sign, verify)
    register_publishers("erasure", publishers)
    register_archive("ledger", read_kept)
    register_under_way(prepare_under_way)


def _save_beside(ledger: FileLedger) -> Publish:
    def save(size: int, note: str) -> None:
        folder = _folder(ledger)
        folder.mkdir(parents=True, exist_ok=True)
        write_safely(folder / _name(size, note), note)

    return save


def _save_in(ledger: StorageLedger) -> Publish:
    def save(size: int, note: str) -> None:
        name = f"{FOLDER}/{_name(size, note)}"
        # A storage gives a second object of a name another one; the first holds the same.
        if not ledger.storage.exists(name):
            ledger.storage.save(name, ContentFile(note.encode()))

    return save


def _post_to(address: str) -> Publish:
    def post(size: int, note: str) -> None:
        headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "Sexton"}
        # The address is the operator's own, from the settings.
        request = Request(address, note.encode(), headers, method="POST")  # noqa: S310
        with urlopen(request, timeout=TIMEOUT):  # noqa: S310
            pass

    return post


def _mail_to(addresses: list[str]) -> Publish:
    def send(size: int, note: str) -> None:
        text = f"{WORDS}\n\n{note}"
        send_mail(f"Audit log checkpoint: {size} events", text, None, addresses)

    return send


def _own_key() -> str:
    return str(getattr(settings, "AUDIT_SIGNING_KEY", ""))


def _name(size: int, note: str) -> str:
    # Names sort by size. A log that was cut and has grown to the same size again has another note,
    # and must not take the place of the one that shows it.
    return f"{size:015d}-{sha256(note.encode()).hexdigest()[:16]}.txt"


def _folder(ledger: FileLedger) -> Path:
    return ledger.path.parent / FOLDER
