"""The shape of an API key: prefix, random body, checksum. Pure functions, no database.

``sk-`` + 30 base-62 characters (178 random bits) + 6 base-62 characters of CRC-32 over what
stands before them. The checksum lets a typo be refused without a query and a secret scanner tell a
key from noise; GitHub's tokens are built the same way. It is no protection against forgery.
"""

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BODY_LENGTH = 30
CHECKSUM_LENGTH = 6
HINT_LENGTH = 4

_TAIL = re.compile(rf"[0-9A-Za-z]{{{BODY_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Secret:
    """A new key: ``text`` is shown once, ``digest`` is stored, ``hint`` tells keys apart."""

    text: str
    digest: str
    hint: str


def generate(prefix: str) -> Secret:
    """Return a new random key under a prefix such as ``sk-``."""
    return from_body(prefix, "".join(secrets.choice(ALPHABET) for _ in range(BODY_LENGTH)))


def from_body(prefix: str, body: str) -> Secret:
    """Complete a body of 30 base-62 characters to a key."""
    text = f"{prefix}{body}"
    text += _checksum(text)
    return Secret(text=text, digest=digest(text), hint=f"{prefix}…{text[-HINT_LENGTH:]}")


def is_well_formed(text: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a text could be one of our keys: prefix, length, alphabet and checksum fit."""
    for prefix in prefixes:
        if text.startswith(prefix) and _TAIL.fullmatch(text, len(prefix)):
            return _checksum(text[:-CHECKSUM_LENGTH]) == text[-CHECKSUM_LENGTH:]
    return False


def digest(text: str) -> str:
    """Return the SHA-256 of a key in hexadecimal: with 178 random bits it needs no slow hash."""
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        number, remainder = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[remainder])
    return "".join(reversed(digits))
