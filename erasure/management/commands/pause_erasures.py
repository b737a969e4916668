"""``manage.py pause_erasures``: the brakes, from the shell."""

import json as jsonlib
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.actors import Actor
from erasure.brakes import place_pause, release_pause
from erasure.models import Pause
from erasure.subjects import get_kind, kind_names

CHANNEL = "pause_erasures"


class Command(BaseCommand):
    # A brake works always: also, and above all, on a database that is older than its ledger.
    help = (
        "Pauses every erasure that happens by itself, or those of one organization, until the "
        "pause is released; lists what is paused. Exit codes: 0 done, 1 there was nothing to do, "
        "2 wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="place|release|list")
        place = verbs.add_parser("place", help="put the brake on; what runs ends its transaction")
        place.add_argument("--reason", type=_reason, required=True, help="read by staff")
        release = verbs.add_parser("release", help="take it off; what is due is due at once")
        listing = verbs.add_parser("list", help="show what is paused")
        for one in (place, release, listing):
            one.add_argument(
                "--organization",
                type=UUID,
                metavar="ID",
                help="only what this organization is and manages; without it, everything",
            )
            one.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(
        self,
        *args: Any,
        verb: str,
        organization: UUID | None,
        json: bool,
        reason: str = "",
        **options: Any,
    ) -> None:
        standing = Pause.objects.standing().order_by("placed_at")
        if verb != "list" or organization:
            standing = standing.filter(organization_id=organization)
        if verb == "place":
            done = self._place(list(standing), organization, reason)
        elif verb == "release":
            done = self._release(list(standing))
        else:
            done = list(standing)
        self.stdout.write(_as_json(verb, done) if json else _describe(verb, done))
        if verb != "list" and not done:
            raise SystemExit(1)

    def _place(self, standing: list[Pause], organization: UUID | None, reason: str) -> list[Pause]:
        if organization and not _exists(organization):
            raise CommandError(f"There is no organization {organization}.", returncode=2)
        if standing:
            return []
        made = place_pause(
            actor=Actor.system(CHANNEL),
            reason=reason,
            now=timezone.now(),
            organization_id=organization,
        )
        return [Pause.objects.get(pk=made)]

    def _release(self, standing: list[Pause]) -> list[Pause]:
        actor, now = Actor.system(CHANNEL), timezone.now()
        return [it for it in standing if release_pause(actor=actor, pause_id=it.pk, now=now)]


def _exists(subject_id: UUID) -> bool:
    """A pause of nobody would be no brake at all, and nobody would notice."""
    kinds = map(get_kind, kind_names())
    return any(it.model._default_manager.filter(pk=it.pk_of(subject_id)).exists() for it in kinds)


def _as_json(verb: str, pauses: list[Pause]) -> str:
    rows = [
        {
            "id": str(pause.pk),
            "organization": str(pause.organization_id) if pause.organization_id else None,
            "placed_at": pause.placed_at.isoformat(),
            "reason": pause.reason,
        }
        for pause in pauses
    ]
    return jsonlib.dumps({"did": verb, "pauses": rows})


def _describe(verb: str, pauses: list[Pause]) -> str:
    if not pauses:
        nothing = {"place": "It is paused already.", "list": "Nothing is paused."}
        return nothing.get(verb, "There was no such pause.")
    begun = {"place": "Paused", "release": "Released", "list": "Paused"}[verb]
    return "\n".join(
        f"{begun}: {pause.organization_id or 'everything'}, since "
        f"{pause.placed_at:%Y-%m-%d %H:%M} UTC. {pause.reason}"
        for pause in pauses
    )


def _reason(text: str) -> str:
    if not text.strip():
        raise ArgumentTypeError("must not be empty")
    return text.strip()
