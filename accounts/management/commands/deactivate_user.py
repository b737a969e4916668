"""``manage.py deactivate_user``: lock somebody out, or let them in again, from the shell."""

from argparse import ArgumentParser
from dataclasses import replace
from typing import Any

from django.utils import timezone

from accounts.services import set_active
from audit.events import Reference
from erasure.exceptions import DeletionError, SubjectNotFound
from erasure.management.shell import (
    REFUSED,
    ErasureCommand,
    describe_refusal,
    find_subject,
    parse_text,
)
from erasure.references import spell
from organizations.exceptions import SoleOwner
from organizations.ownership import find_ownerless


class Command(ErasureCommand):
    help = (
        "Locks a user out: sessions end, keys are refused, and nothing is deleted. With --activate "
        "it lets the user in again. Without --execute it only says what it would do. Exit codes: 0 "
        "done, or nothing stands against it; 1 refused, nothing was done, because an organization "
        "would be left without an owner or the user is deleted; 2 wrong usage, or no such user."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "subject", metavar="USER", help="a usr_… id, a username or an e-mail address"
        )
        parser.add_argument("--activate", action="store_true", help="let the user in again")
        parser.add_argument(
            "--reason",
            type=parse_text,
            help="why, in your own words; erased with the person whom it is about",
        )
        self.add_mode(parser)

    def handle(
        self,
        *args: Any,
        subject: str,
        activate: bool,
        reason: str | None,
        execute: bool,
        json: bool,
        **options: Any,
    ) -> None:
        found, user = find_subject(subject, kind="user")
        is_same = user.is_active == activate and not user.is_deleted
        refusal = _foresee(found, user, activate)
        if execute and not is_same:
            refusal = self._act(found, activate, reason or "")
        told = {
            "executed": execute and not is_same and refusal is None,
            "subject": {"kind": "user", "id": spell(found)},
            "active": activate if execute and refusal is None else user.is_active,
            "refusal": refusal,
        }
        if json:
            self.write_json(told)
        else:
            self._say(told, user.username, activate, is_same)
        self.end(REFUSED if refusal else 0)

    def _act(self, subject: Reference, activate: bool, reason: str) -> dict[str, str] | None:
        actor = replace(self.actor, reason=reason)
        try:
            set_active(actor=actor, user_id=subject.id, is_active=activate, now=timezone.now())
        except DeletionError as error:
            return describe_refusal(error)
        return None

    def _say(self, told: dict[str, Any], name: str, activate: bool, is_same: bool) -> None:
        state = "active" if activate else "locked out"
        if told["refusal"]:
            self.stdout.write(f"REFUSED: user {name}. {told['refusal']['text']} Nothing was done.")
        elif is_same:
            self.stdout.write(f"User {name} is {state} already. Nothing was done.")
        elif told["executed"]:
            self.stdout.write(f"User {name} is {state} now.")
        else:
            self.stdout.write(
                f"User {name} would be {state}.\n"
                "Nothing was changed. Run it again with --execute to do it."
            )


def _foresee(subject: Reference, user: Any, activate: bool) -> dict[str, str] | None:
    if user.is_deleted:
        return describe_refusal(SubjectNotFound("user"))
    if not activate and user.is_active and (left := find_ownerless([subject.id])):
        return describe_refusal(SoleOwner(left[subject.id]))
    return None
