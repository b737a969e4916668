"""``manage.py legal_hold``: place, release and list legal holds."""

from argparse import ArgumentParser
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

from django.utils import timezone

from erasure.exceptions import SubjectNotFound
from erasure.holds import is_held, place_hold, release_hold
from erasure.management.shell import (
    REFUSED,
    ErasureCommand,
    describe_refusal,
    find_subject,
    misuse,
    parse_day,
    parse_text,
)
from erasure.models import DeletionRequest, LegalHold
from erasure.references import spell
from erasure.subjects import get_kind, kind_names


class Command(ErasureCommand):
    help = (
        "Places, releases and lists legal holds, which stop every erasure of their subject. "
        "Without --execute, place and release only say what they would do. Exit codes: 0 done; 1 "
        "refused, nothing was done; 2 wrong usage, no such subject or hold, or a name that means "
        "several."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True)
        place = steps.add_parser("place", help="forbid the erasure of a subject")
        place.add_argument(
            "subject", metavar="SUBJECT", help="an id, a username, an e-mail address or a slug"
        )
        place.add_argument("--kind", choices=kind_names(), help="where names are looked for")
        place.add_argument(
            "--reason", type=parse_text, required=True, help="why, with the case's number"
        )
        place.add_argument(
            "--review",
            type=parse_day,
            required=True,
            metavar="YYYY-MM-DD",
            help="when somebody looks again whether it is still needed",
        )
        self.add_mode(place)
        release = steps.add_parser("release", help="end a hold; what was due is due again")
        release.add_argument("hold", metavar="HOLD", type=_read_hold, help="the hold's id")
        self.add_mode(release)
        listing = steps.add_parser("list", help="the holds that stand, the oldest first")
        listing.add_argument("subject", nargs="?", metavar="SUBJECT", help="of this subject only")
        listing.add_argument("--kind", choices=kind_names(), help="where names are looked for")
        listing.add_argument("--all", action="store_true", help="released ones as well")
        listing.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, step: str, **options: Any) -> None:
        steps: dict[str, Callable[..., None]] = {
            "place": self._place,
            "release": self._release,
            "list": self._list,
        }
        steps[step](**options)

    def _place(
        self,
        *,
        subject: str,
        kind: str | None,
        reason: str,
        review: date,
        execute: bool,
        json: bool,
        **options: Any,
    ) -> None:
        found, row = find_subject(subject, kind=kind)
        told: dict[str, Any] = {
            "executed": False,
            "hold": None,
            "subject": {"kind": found.kind, "id": spell(found)},
            "reason": reason,
            "review_at": review.isoformat(),
            "refusal": None,
        }
        name = f"{found.kind} {get_kind(found.kind).label(row)}"
        said = f"Would place a legal hold on {name}. Run it again with --execute."
        if execute:
            try:
                told["hold"] = place_hold(
                    actor=self.actor,
                    subject=found,
                    reason=reason,
                    review_at=review,
                    now=timezone.now(),
                )
                told["executed"] = True
                said = f"A legal hold stands on {name}: {told['hold']}"
            except SubjectNotFound as error:
                told["refusal"] = describe_refusal(error)
                said = f"REFUSED: {name}. {told['refusal']['text']} Nothing was done."
        self._tell(told, said, json)

    def _release(self, *, hold: UUID, execute: bool, json: bool, **options: Any) -> None:
        row = LegalHold.objects.filter(pk=hold).first()
        if row is None:
            misuse(f"There is no legal hold {hold}.")
        told: dict[str, Any] = {
            "executed": False,
            **_describe(row),
            "refusal": None,
        }
        if row.released_at is not None:
            text = f"It ended on {row.released_at:%Y-%m-%d}."
            told["refusal"] = {"code": "AlreadyReleased", "text": text}
            self._tell(told, f"REFUSED. {text} Nothing was done.", json)
            return
        said = f"Would release the legal hold {hold}. Run it again with --execute."
        if execute:
            told["executed"] = release_hold(actor=self.actor, hold_id=hold, now=timezone.now())
            told |= _describe(LegalHold.objects.get(pk=hold))
            said = f"Released. {_tell_after(row)}"
        self._tell(told, said, json)

    def _list(self, *, subject: str | None, kind: str | None, json: bool, **options: Any) -> None:
        rows = LegalHold.objects.order_by("placed_at", "pk")
        if not options["all"]:
            rows = rows.active()
        if subject is not None:
            rows = rows.on(find_subject(subject, kind=kind)[0])
        holds = [_describe(row) for row in rows.iterator(chunk_size=500)]
        if json:
            self.write_json({"holds": holds})
            return
        today = timezone.localdate().isoformat()
        for hold in holds:
            review = f"review on {hold['review_at']}" if hold["review_at"] else "no review date"
            if hold["released_at"]:
                review = f"released {hold['released_at'][:10]}"
            elif hold["review_at"] and hold["review_at"] <= today:
                review += ", WHICH IS DUE"
            subject_name = f"{hold['subject']['kind']} {hold['subject']['id']}"
            self.stdout.write(f"{hold['hold']}  {subject_name}  {review}: {hold['reason']}")
        self.stdout.write(f"{len(holds)} legal hold{'' if len(holds) == 1 else 's'}.")

    def _tell(self, told: dict[str, Any], said: str, json: bool) -> None:
        if json:
            self.write_json(told)
        else:
            self.stdout.write(said)
        self.end(REFUSED if told["refusal"] else 0)


def _describe(hold: LegalHold) -> dict[str, Any]:
    subject = hold.subject
    return {
        "hold": hold.pk,
        "subject": {"kind": subject.kind, "id": spell(subject)},
        "reason": hold.reason,
        "placed_at": hold.placed_at.isoformat(),
        "review_at": hold.review_at.isoformat() if hold.review_at else None,
        "released_at": hold.released_at.isoformat() if hold.released_at else None,
    }


def _tell_after(hold: LegalHold) -> str:
    """Say what becomes of the subject now."""
    if is_held(hold.subject):
        return "Another hold on the same subject stands."
    deletion = DeletionRequest.objects.about(hold.subject).open().first()
    if deletion is None:
        return "No deletion of its subject is open."
    if deletion.due_at <= timezone.now():
        return "Its subject is due, and is erased by the next purge."
    return f"Its subject is due on {deletion.due_at:%Y-%m-%d %H:%M %Z}."


def _read_hold(text: str) -> UUID:
    return UUID(text)
