"""Checkpoints as signed notes: C2SP tlog-checkpoint and signed-note, Ed25519.

    sexton.example/audit
    1048576
    <root, base64>
    time 2026-11-27T09:30:00Z

    — sexton.example/audit <base64 of the key's hash, 4 bytes, and the signature, 64 bytes>

What is signed is the text up to and with the line before the empty one. A verifier key is spelled
``<name>+<hash, hex>+<base64 of 0x01 and the public key>``. Needs Python and ``cryptography`` alone.
"""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

ED25519 = b"\x01"
NAME = re.compile(r"[^\s+]+")

DIGITS = 19
"""So many a size has at most. Python refuses to read some thousand."""


class InvalidNote(Exception):
    """It is no checkpoint, or not as it was signed."""


@dataclass(frozen=True)
class Checkpoint:
    """How large a tree was at a time, and its root then."""

    origin: str
    size: int
    root: bytes
    at: datetime | None = None

    def text(self) -> str:
        """Return what is signed."""
        root = base64.b64encode(self.root).decode()
        time = f"time {self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}\n" if self.at else ""
        return f"{self.origin}\n{self.size}\n{root}\n{time}"


@dataclass(frozen=True)
class Verifier:
    """A public key, and the name that its signatures go by."""

    name: str
    public: bytes

    @property
    def hash(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        key = base64.b64encode(ED25519 + self.public).decode()
        return f"{self.name}+{self.hash.hex()}+{key}"


@dataclass(frozen=True)
class Signer:
    """A private key, and the name that it signs by: the log's origin."""

    name: str
    private: Ed25519PrivateKey

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, self.private.public_key().public_bytes_raw())

    def sign(self, checkpoint: Checkpoint) -> str:
        """Return a checkpoint as a signed note."""
        text = checkpoint.text()
        signature = self.verifier.hash + self.private.sign(text.encode())
        return f"{text}\n— {self.name} {base64.b64encode(signature).decode()}\n"


def open_note(note: Any, verifiers: Iterable[Verifier]) -> Checkpoint:
    """Return the checkpoint of a note that one of these keys has signed. Signatures by other keys
    are ignored, as witnesses may have added theirs. Raises InvalidNote, also for what is no text:
    SQLite and JSON can hold anything in the place of one."""
    if not isinstance(note, str):
        raise InvalidNote("This is no text.")
    text, middle, signatures = note.partition("\n\n")
    if not middle or not signatures.endswith("\n"):
        raise InvalidNote("This is no signed note.")
    text += "\n"
    known = {(it.name, it.hash): it for it in verifiers}
    is_named = False
    for line in signatures[:-1].split("\n"):
        name, raw = _read_signature(line)
        if (verifier := known.get((name, raw[:4]))) is None:
            continue
        is_named = True
        try:
            Ed25519PublicKey.from_public_bytes(verifier.public).verify(raw[4:], text.encode())
        except (InvalidSignature, UnicodeEncodeError):
            raise InvalidNote("It was changed after it was signed.") from None
    if not is_named:
        raise InvalidNote(_tell_unknown(text, sorted({it.name for it in known.values()})))
    return read_text(text)


def find_note(text: str) -> str:
    """Return the note in a text, such as a mail that was saved: the words before it are left
    out, and the line ends that mail gives it. Raises ValueError."""
    text = text.replace("\r\n", "\n")
    head, mark, tail = text.partition("\n— ")
    if not mark:
        raise ValueError("there is no checkpoint in it")
    body = head.removesuffix("\n").rpartition("\n\n")[2]
    signatures = [f"— {tail}".partition("\n\n")[0].strip()]
    return f"{body}\n\n" + "\n".join(signatures) + "\n"


def read_text(text: str) -> Checkpoint:
    """Return what the signed part of a note says. Raises InvalidNote."""
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < 3 or not all(lines):
        raise InvalidNote("This is no checkpoint.")
    origin, size, root, *others = lines
    if not (size.isascii() and size.isdecimal() and len(size) <= DIGITS) or str(int(size)) != size:
        raise InvalidNote("Its size is no number.")
    times = [it.removeprefix("time ") for it in others if it.startswith("time ")]
    try:
        digest = base64.b64decode(root, validate=True)
        at = datetime.fromisoformat(times[0]) if times else None
    except ValueError as error:
        raise InvalidNote("Its root or time cannot be read.") from error
    if len(digest) != 32:
        raise InvalidNote("Its root is no SHA-256.")
    return Checkpoint(origin, int(size), digest, at)


def read_verifiers(text: str, name: str) -> list[Verifier]:
    """Return the public keys in a text or a file: verifier keys, one a line, a JWK or JWK set, or
    PEM. Keys that have no name get this one. Raises ValueError."""
    if not re.match(r"\s*(\{|-----BEGIN)|\S+\+[0-9a-f]{8}\+", text):
        text = Path(text).read_text()
    text = text.strip()
    if text.startswith("-----BEGIN"):
        key = load_pem_public_key(text.encode())
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("not an Ed25519 key")
        return [Verifier(name, key.public_bytes_raw())]
    if text.startswith("{"):
        found = json.loads(text)
        return [read_jwk(jwk, name) for jwk in found.get("keys", [found])]
    return [_read_verifier(line) for line in text.splitlines() if line]


def read_jwk(jwk: Any, name: str) -> Verifier:
    """Return an Ed25519 JWK as a verifier of a name. Raises ValueError."""
    if jwk.get("crv") != "Ed25519":
        raise ValueError("not an Ed25519 key")
    public = base64.urlsafe_b64decode(jwk["x"] + "=" * (-len(jwk["x"]) % 4))
    return Verifier(name, public)


def _tell_unknown(text: str, names: Sequence[str]) -> str:
    """Return why none of the keys at hand can have signed a text."""
    origin = text.partition("\n")[0]
    if origin in names:
        return "None of the keys at hand has signed it."
    return (
        f"None of the keys at hand has signed it: it is for the origin {origin}, and they are for "
        f"{' and '.join(names) or 'nobody'}. A former name of the log belongs into "
        "AUDIT_FORMER_ORIGINS."
    )


def _read_verifier(text: str) -> Verifier:
    name, _, rest = text.partition("+")
    digest, _, key = rest.partition("+")
    raw = base64.b64decode(key, validate=True)
    found = Verifier(name, raw[1:])
    if raw[:1] != ED25519 or len(raw) != 33 or found.hash.hex() != digest:
        raise ValueError("not an Ed25519 verifier key")
    return found


def _read_signature(line: str) -> tuple[str, bytes]:
    dash, _, rest = line.partition(" ")
    name, _, text = rest.partition(" ")
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if dash != "—" or not NAME.fullmatch(name) or len(raw) < 5:
        raise InvalidNote("A signature line of it cannot be read.")
    return name, raw
