"""The README of an export: what each file is, in the words of somebody who never saw a database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from textwrap import fill
from typing import Any

from erasure.policies import Anonymise, Delete, Detach, Fate, Keep


@dataclass
class Section:
    """One file of an export: the rows of one model."""

    label: str
    title: str
    file: str
    fields: Mapping[str, str]
    left_out: Sequence[str]
    fates: Sequence[Fate]
    rows: int = 0
    mentions: int = 0
    files: int = field(default=0)

    def as_facts(self) -> dict[str, Any]:
        return {
            "model": self.label,
            "file": self.file,
            "rows": self.rows,
            "mentions": self.mentions,
            "files": self.files,
            "left_out": list(self.left_out),
        }


def write_readme(sections: Sequence[Section], manifest: Mapping[str, Any], now: datetime) -> str:
    """Return the README's text."""
    held = [one for one in sections if one.rows or one.mentions]
    nothing = [one for one in sections if not (one.rows or one.mentions)]
    blocks = [
        "Your data\n=========",
        f"Everything that this service held on {manifest['subject']['id']} "
        f"on {now:%d %B %Y at %H:%M} {now.tzname() or ''}".rstrip()
        + ".",
        *(" ".join(one.split()) for one in ABOUT.split("\n\n")),
        "What is in it\n-------------",
        *(_describe(one) for one in held),
    ]
    if nothing:
        names = ", ".join(sorted(one.title for one in nothing))
        blocks.append(f"Nothing is held on you under: {names}.")
    if manifest["companions"]:
        names = ", ".join(manifest["companions"])
        blocks.append(f"These belong to it and get exports of their own: {names}.")
    if manifest["missing"]:
        blocks.append(f"{manifest['missing']} stored files are named but no longer there.")
    blocks += ["Your rights\n-----------", " ".join(RIGHTS.split())]
    return "\n\n".join(_wrap(block) for block in blocks) + "\n"


ABOUT = """
This is the copy that Art. 15(3) of the General Data Protection Regulation gives you a right to, in
the structured, common and machine-readable form of Art. 20: each file under data/ is JSON in UTF-8.
"fields" explains the fields, "rows" are about you, and "mentions" are records of others that refer
to you: of these you see the reference only, because the rest is theirs. Files that you uploaded
lie under files/. manifest.json has the numbers.

Not in it: secrets such as passwords, keys and the contents of sessions. They are stored as
fingerprints or are worthless to you, and a copy of them would be a danger. "left_out" names them.
"""

RIGHTS = """
You can have wrong data corrected (Art. 16), have your data erased (Art. 17) or its use restricted
(Art. 18), take it to another service (Art. 20), object to its use (Art. 21), and complain to a
supervisory authority (Art. 77). For what purposes the data is used, who receives it, and where it
came from if not from you or from your use of the service, the privacy notice of this service says.
"""


def _describe(section: Section) -> str:
    count = _count(section.rows, "record")
    if section.mentions:
        count += f", {_count(section.mentions, 'mention')}"
    if section.files:
        count += f", {_count(section.files, 'file')}"
    lines = [f"{section.file} ({count})", f"{_capital(section.title)}."]
    lines += dict.fromkeys(_keep(section.fates))
    if section.left_out:
        lines.append(f"Left out: {', '.join(section.left_out)}.")
    return "\n".join([lines[0], *("  " + line for line in lines[1:])])


def _keep(fates: Sequence[Fate]) -> Iterator[str]:
    """Yield how long records are kept, in words."""
    for fate in fates:
        if isinstance(fate, Delete):
            yield "Kept until the erasure, and removed by it."
        elif isinstance(fate, Anonymise):
            yield f"The erasure overwrites what is yours and keeps the rest: {fate.because}"
        elif isinstance(fate, Detach):
            yield f"The erasure clears the reference to you: {fate.because}"
        elif isinstance(fate, Keep):
            yield (
                f"Kept {_how_long(fate.retention)} after {_start(fate)}. {fate.because} "
                f"Legal basis: {fate.basis}."
            )


def _start(fate: Keep) -> str:
    return f"what {fate.since} says" if fate.since else "the erasure"


def _how_long(retention: timedelta | None) -> str:
    if retention is None:
        return "without a limit, since it names nobody any more,"
    years, days = divmod(retention.days, 365)
    parts = [_count(years, "year")] if years else []
    parts += [_count(days, "day")] if days else []
    return "for " + (" and ".join(parts) or "less than a day")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _wrap(block: str) -> str:
    lines = []
    for line in block.split("\n"):
        indent = "  " if line.startswith("  ") else ""
        lines.append(fill(line, 78, subsequent_indent=indent) if line else "")
    return "\n".join(lines)
