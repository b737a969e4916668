"""The forms in which an identifier may lie around: as it is, in another case, encoded.

A search looks for bytes. Each identifier becomes a few dozen patterns, and ``Matcher`` finds all
patterns of all identifiers in one pass over a block of bytes, however many there are.
"""

import html
import json
import re
import unicodedata
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from urllib.parse import quote, quote_plus
from uuid import UUID

from ahocorasick_rs import BytesAhoCorasick

SHORTEST = 4
DATE = re.compile(r"\d{4}-\d\d")
SHORTEST_BASE64 = 6
"""Characters of a base64 pattern: shorter ones occur by chance in digests and hashes."""

PLAIN = "plain"
OTHER_CASE = "other case"


class TooShort(ValueError):
    """An identifier of fewer than four characters is found everywhere and proves nothing."""


class Match(NamedTuple):
    """A pattern found: whose it is, in which form, and where in the block."""

    needle: int
    form: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Needle:
    """One identifier with its patterns, each with the name of its form.

    ``folded`` patterns are lower-case ASCII and are looked for in any case; ``exact`` ones are not.
    """

    text: str
    uuid: UUID | None = None
    folded: dict[bytes, str] = field(default_factory=dict)
    exact: dict[bytes, str] = field(default_factory=dict)

    @property
    def is_number(self) -> bool:
        return self.text.isdecimal()


def make_needle(text: str, others: Iterable[str] = ()) -> Needle:
    """Return an identifier's patterns; ``others`` are further spellings of the same one, such as
    the UUID behind ``usr_…``. Raises TooShort."""
    text = text.strip()
    if len(text) < SHORTEST:
        raise TooShort(f"fewer than {SHORTEST} characters")
    names = [text, *others]
    uuid = next((found for name in names if (found := _as_uuid(name))), None)
    needle = Needle(text, uuid)
    for name in names:
        for spelling in _spellings(name):
            for pattern, form in _folded_forms(spelling):
                needle.folded.setdefault(pattern.lower(), form)
            for pattern, form in _base64_forms(spelling.encode()):
                needle.exact.setdefault(pattern, form)
    if uuid is not None:
        for written in (str(uuid), uuid.hex):
            needle.folded.setdefault(written.encode(), PLAIN)
            for pattern, form in _base64_forms(written.encode()):
                needle.exact.setdefault(pattern, form)
        needle.exact[uuid.bytes] = "raw bytes"
        for pattern, form in _base64_forms(uuid.bytes):
            needle.exact.setdefault(pattern, f"{form} of raw bytes")
    return needle


class Matcher:
    """Finds every pattern of many identifiers in blocks of bytes, in one pass over each."""

    def __init__(
        self, needles: Sequence[str], others: Callable[[str], Iterable[str]] = lambda text: ()
    ) -> None:
        """``needles`` are the identifiers; a match names one by its place among them. ``others``
        gives further spellings of an identifier.

        Raises TooShort, whose text names the place and not the identifier.
        """
        self.needles: list[Needle] = []
        for place, text in enumerate(needles, start=1):
            try:
                self.needles.append(make_needle(text, others(text)))
            except TooShort as error:
                raise TooShort(f"identifier {place} has {error}") from None
        self._folded = _Patterns((n, one.folded) for n, one in enumerate(self.needles))
        self._exact = _Patterns((n, one.exact) for n, one in enumerate(self.needles))
        # How much of a block's end must be looked at again together with the next one.
        self.reach = max(self._folded.longest, self._exact.longest, 1)

    @property
    def has_numbers(self) -> bool:
        return any(needle.is_number for needle in self.needles)

    @property
    def has_dates(self) -> bool:
        return any(DATE.match(needle.text) for needle in self.needles)

    @cached_property
    def uuids(self) -> frozenset[UUID]:
        return frozenset(one.uuid for one in self.needles if one.uuid is not None)

    def find(self, block: bytes) -> list[Match]:
        """Return every match in a block, those that overlap included."""
        matches = [
            Match(needle, self._case(block, needle, form, start, end), start, end)
            for needle, form, start, end in self._folded.find(block.lower())
            if not (self.needles[needle].is_number and _is_part_of_number(block, start, end))
        ]
        matches += (Match(*found) for found in self._exact.find(block))
        return matches

    def mask(self, text: str) -> str:
        """Return a text with every match replaced by ``***``: what is searched for is not shown."""
        block = text.encode()
        for match in sorted(self.find(block), key=lambda match: match.start, reverse=True):
            block = block[: match.start] + b"***" + block[match.end :]
        return block.decode(errors="replace")

    def _case(self, block: bytes, needle: int, form: str, start: int, end: int) -> str:
        if form != PLAIN or block[start:end] == self.needles[needle].text.encode():
            return form
        return OTHER_CASE if self.needles[needle].uuid is None else PLAIN


class _Patterns:
    """Patterns of one automaton. Two identifiers may share a pattern."""

    def __init__(self, needles: Iterator[tuple[int, dict[bytes, str]]]) -> None:
        owners: dict[bytes, list[tuple[int, str]]] = {}
        for needle, patterns in needles:
            for pattern, form in patterns.items():
                owners.setdefault(pattern, []).append((needle, form))
        self.longest = max(map(len, owners), default=0)
        self._owners = list(owners.values())
        self._automaton = BytesAhoCorasick(list(owners)) if owners else None

    def find(self, block: bytes) -> Iterator[tuple[int, str, int, int]]:
        if self._automaton is None or not block:
            return
        for pattern, start, end in self._automaton.find_matches_as_indexes(block, overlapping=True):
            for needle, form in self._owners[pattern]:
                yield needle, form, start, end


def _spellings(text: str) -> Iterator[str]:
    """Yield a text and its lower-case form, and what the folding of ASCII alone would miss."""
    for spelling in (text, text.lower()):
        yield spelling
        if not spelling.isascii():
            yield spelling.upper()
            yield unicodedata.normalize("NFC", spelling)
            yield unicodedata.normalize("NFD", spelling)


def _folded_forms(text: str) -> Iterator[tuple[bytes, str]]:
    yield text.encode(), PLAIN
    for url in (quote(text, safe=""), quote_plus(text), quote(text), quote(text, safe="@")):
        yield url.encode(), "URL-encoded"
    yield json.dumps(text)[1:-1].encode(), "JSON"
    yield html.escape(text).encode(), "HTML"


def _base64_forms(data: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield what data looks like inside base64, after 0, 1 or 2 bytes of something else.

    Characters that also depend on a neighbour's bits are left out.
    """
    for offset in range(3):
        coded = b64encode(b"\0" * offset + data)
        first = -(-offset * 8 // 6)
        last = (offset + len(data)) * 8 // 6
        pattern = coded[first:last]
        if len(pattern) >= SHORTEST_BASE64:
            yield pattern, "base64"
            yield pattern.translate(bytes.maketrans(b"+/", b"-_")), "base64url"


def _is_part_of_number(block: bytes, start: int, end: int) -> bool:
    before, after = block[max(start - 1, 0) : start], block[end : end + 1]
    return before.isdigit() or after.isdigit()


def _as_uuid(text: str) -> UUID | None:
    if len(text) not in (32, 36):
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
