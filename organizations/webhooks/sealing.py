"""Secrets that must be read again, such as those that sign: kept encrypted under SECRET_KEY, so
that who reads the database or a backup of it can sign nothing."""

import base64
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

PURPOSE = b"sexton webhooks"


def seal(text: str) -> str:
    """Return a text that only the holder of SECRET_KEY can read."""
    return _cipher(_keys()).encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """Return what was sealed. Raises cryptography's InvalidToken when it was sealed under a key
    that is neither SECRET_KEY nor one of SECRET_KEY_FALLBACKS."""
    return _cipher(_keys()).decrypt(sealed.encode()).decode()


def seal_json(value: Any) -> str:
    return seal(json.dumps(value))


def unseal_json(sealed: str) -> Any:
    return json.loads(unseal(sealed))


def _keys() -> tuple[str, ...]:
    former: Sequence[str] = getattr(settings, "SECRET_KEY_FALLBACKS", ())
    return (settings.SECRET_KEY, *former)


@lru_cache(maxsize=4)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(_derive(key)) for key in keys])


def _derive(key: str) -> bytes:
    derived = HKDF(SHA256(), length=32, salt=None, info=PURPOSE).derive(key.encode())
    return base64.urlsafe_b64encode(derived)
