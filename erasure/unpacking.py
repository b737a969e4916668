"""Data as it was before it was packed: compressed, encoded for mail, signed as a session."""

import gzip
import pickletools
import zipfile
import zlib
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator
from email import message_from_bytes, policy
from typing import IO, Any

CHUNK = 1 << 20
MOST = 1 << 30
"""Bytes of one packed file that are looked at; more is an attack or a backup."""

ZIP, GZIP = b"PK\3\4", b"\x1f\x8b"


class TooLarge(Exception):
    """A packed file that unpacks to more than a gigabyte."""


def read_chunks(file: Any) -> Iterator[bytes]:
    """Yield a file's bytes; memory stays flat."""
    while chunk := file.read(CHUNK):
        yield chunk


def unpack_file(file: IO[bytes]) -> Iterator[Iterable[bytes]]:
    """Yield what lies packed in an open file, one stream for each part: members of a zip (so of an
    office document too) and the text of a gzip file. Nothing for any other file.

    Raises TooLarge, and what a damaged file raises: zipfile.BadZipFile, OSError, zlib.error.
    """
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    if start == ZIP:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                yield [member.filename.encode()]
                with archive.open(member) as part:
                    yield _limit(read_chunks(part))
    elif start[:2] == GZIP:
        with gzip.open(file) as part:
            yield _limit(read_chunks(part))


def unpack_mail(message: bytes) -> bytes:
    """Return headers and parts of a mail in plain text, whatever they were encoded as."""
    parsed = message_from_bytes(message, policy=policy.default)
    parts = [f"{name}: {value}".encode(errors="replace") for name, value in parsed.items()]
    for part in parsed.walk():
        payload: Any = None if part.is_multipart() else part.get_payload(decode=True)
        if payload:
            parts.append(payload)
    return b"\n".join(parts)


def unpack_session(value: bytes) -> bytes:
    """Return the JSON of a stored Django session; empty when it is none. Its signature proves
    nothing here and is not looked at."""
    packed = value.startswith(b".")
    coded = value.removeprefix(b".").split(b":")[0]
    try:
        data = urlsafe_b64decode(coded + b"=" * (-len(coded) % 4))
        return zlib.decompress(data) if packed else data
    except (ValueError, zlib.error):
        return b""


def unpack_cached(value: bytes) -> bytes:
    """Return the pickled value in a file of Django's file cache: a pickled time stands before it,
    and the rest is compressed. Nothing is unpickled. Empty when it is no such file."""
    try:
        stop = next(at for code, _, at in pickletools.genops(value) if code.name == "STOP")
        return zlib.decompress(value[(stop or 0) + 1 :])
    except (StopIteration, ValueError, zlib.error):
        return b""


def _limit(chunks: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MOST:
            raise TooLarge
        yield chunk
