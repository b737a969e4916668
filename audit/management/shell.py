"""What the log's commands share: reading ids and times, and which events are wanted."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from audit.notes import InvalidNote, find_note, read_text
from audit.querying import Wanted, read_time
from erasure.references import read
from erasure.typeids import read_uuid

MISUSED = 2


def spell_count(number: int, noun: str) -> str:
    """Return ``1 event`` or ``2 events``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def add_filters(parser: ArgumentParser) -> None:
    """Add the options that say which events are wanted."""
    parser.add_argument("--action", default="", help="as user.erased; user. means all of users")
    parser.add_argument("--subject", type=parse_id, metavar="ID", help="whom it happened to")
    parser.add_argument("--actor", type=parse_id, metavar="ID", help="who did it")
    parser.add_argument(
        "--about", type=parse_id, metavar="ID", help="who did it, or whom it happened to"
    )
    parser.add_argument("--organization", type=parse_id, metavar="ID", help="within which")
    parser.add_argument("--since", type=parse_time, help="a time or a day; from then on")
    parser.add_argument("--until", type=parse_time, help="a time or a day; before then")


def add_kept(parser: ArgumentParser) -> None:
    """Add the option that names older checkpoints."""
    parser.add_argument(
        "--kept",
        metavar="CHECKPOINT",
        type=Path,
        action="append",
        default=[],
        help="a file that holds a checkpoint from earlier, which verify_audit_export --since is to "
        "compare with this; may be given several times",
    )


def read_sizes(kept: Iterable[Path]) -> list[int]:
    """Return how many events the checkpoints in some files stand for."""
    sizes = []
    for file in kept:
        try:
            text = find_note(file.read_text()).partition("\n\n")[0]
            sizes.append(read_text(text).size)
        except (OSError, ValueError, InvalidNote) as error:
            raise misuse(f"{file}: {error}") from error
    return sizes


def wanted_from(options: dict[str, Any]) -> Wanted:
    """Return which events a command line asks for."""
    organization = options["organization"]
    return Wanted(
        action=options["action"],
        subject_id=options["subject"],
        actor_id=options["actor"],
        about=options["about"],
        organizations=(organization,) if organization else None,
        since=options["since"],
        until=options["until"],
    )


def parse_id(text: str) -> UUID:
    """Read an id as people see it, ``usr_…`` or bare; for argparse."""
    if plain := read_uuid(text):
        return plain
    if (found := read(text)) is None:
        raise ArgumentTypeError("must be an id, such as usr_… or a bare one")
    return found.id


def parse_time(text: str) -> datetime:
    """Read a time or a day in UTC; for argparse."""
    try:
        return read_time(text)
    except ValueError as error:
        raise ArgumentTypeError("must be a time such as 2026-11-27T09:30") from error


def parse_days(text: str) -> timedelta:
    """Read a number of days from one up; for argparse."""
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise ArgumentTypeError("must be a whole number of days from 1 up")
    return timedelta(days=int(text))


def misuse(text: str) -> CommandError:
    return CommandError(text, returncode=MISUSED)
