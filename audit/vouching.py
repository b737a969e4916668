"""Who wrote an event that waits for its seal: shown by a code that only the service can make.

The tree protects what is sealed. Until then an event bears an HMAC-SHA-256 (RFC 2104) of its entry,
under a key that is derived from SECRET_KEY: whoever has the database alone can neither put an event
in nor change one before the sealer comes. The seal takes the code away.
"""

import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.crypto import salted_hmac

from audit.entries import EVENT, UNSPELLABLE, encode_entry

SALT = "audit.vouching"


def vouch(entry: bytes) -> bytes:
    """Return the code of an entry."""
    return _code(settings.SECRET_KEY, entry)


def vouched_entry(values: Sequence[Any], mac: bytes | None) -> bytes:
    """Return the entry of an event from its values when its code is right, under SECRET_KEY or one
    of SECRET_KEY_FALLBACKS, and nothing otherwise."""
    if not isinstance(mac, bytes):
        return b""
    try:
        entry = encode_entry(values)
    except UNSPELLABLE:
        return b""
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        if hmac.compare_digest(_code(secret, entry), mac):
            return entry
    return b""


def _code(secret: str, entry: bytes) -> bytes:
    found = _begin(secret).copy()
    found.update(entry)
    return found.digest()


@lru_cache
def _begin(secret: str) -> hmac.HMAC:
    """Return a code that is begun, to be copied: the key is set once and not with each event."""
    key = salted_hmac(SALT, "", secret, algorithm="sha256").digest()
    return hmac.new(key, EVENT, "sha256")
