"""Signatures of receipts: Ed25519 in JWS compact form (RFC 7515, RFC 8037).

Keys are read as JWK, as a JWK set or as PEM: the text itself, or the path of a file that holds it.
"""

import base64
import binascii
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import mkstemp
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

ALGORITHM = "EdDSA"
Jwk = Mapping[str, Any]


class InvalidReceipt(Exception):
    """It is no receipt, or not what was signed."""


class UnknownKey(InvalidReceipt):
    """The key that it names is not among those at hand."""


@dataclass(frozen=True)
class SigningKey:
    """The private key in use, and the name that a receipt's header gives it."""

    kid: str
    private: Ed25519PrivateKey

    @property
    def jwk(self) -> dict[str, str]:
        return public_jwk(self.private.public_key())


def signing_key(own: str = "") -> SigningKey:
    """Return the key that signs now: the one given, or that of receipts. Raises
    ImproperlyConfigured when it is no Ed25519 key."""
    text = own or getattr(settings, "RECEIPT_SIGNING_KEY", "")
    name = "AUDIT_SIGNING_KEY" if own else "RECEIPT_SIGNING_KEY"
    file = getattr(settings, "RECEIPT_KEY_FILE", None)
    if not text and not file:
        raise ImproperlyConfigured(
            "Set RECEIPT_SIGNING_KEY, the key that signs receipts: manage.py make_receipt_key "
            "makes one."
        )
    return _load(text or str(file), name, is_made_if_missing=not text)


def key_set() -> dict[str, list[dict[str, str]]]:
    """Return the public keys that receipts and the audit log's checkpoints may be verified with,
    the present ones first."""
    present = [signing_key().jwk, signing_key(getattr(settings, "AUDIT_SIGNING_KEY", "")).jwk]
    keys = [*present, *read_keys(getattr(settings, "RECEIPT_KEYS", ""))]
    return {"keys": list({key["kid"]: key for key in keys}.values())}


def make_key() -> dict[str, str]:
    """Return a new private key as a JWK."""
    private = Ed25519PrivateKey.generate()
    return {**public_jwk(private.public_key()), "d": encode(private.private_bytes_raw())}


def public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """Return a public key as a JWK, named by its thumbprint (RFC 7638)."""
    x = encode(key.public_bytes_raw())
    thumb = sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": x,
        "kid": encode(thumb),
        "alg": ALGORITHM,
        "use": "sig",
    }


def read_keys(text: str) -> list[dict[str, str]]:
    """Return the public keys in a text or file: a JWK set, one JWK, or PEM. ValueError if none."""
    text = _contents(text)
    if not text:
        return []
    if text.startswith("-----BEGIN"):
        if "PRIVATE KEY" in text:
            return [public_jwk(_read_private(text).public_key())]
        key = load_pem_public_key(text.encode())
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("not an Ed25519 key")
        return [public_jwk(key)]
    found = json.loads(text)
    jwks: Iterable[Jwk] = found.get("keys", [found])
    return [_read_jwk(jwk) for jwk in jwks]


def verify_compact(jws: str, keys: Iterable[Jwk]) -> bytes:
    """Return the payload of a JWS that one of these keys has signed.

    Raises UnknownKey, or InvalidReceipt for anything else that is wrong with it.
    """
    try:
        head, body, tail = jws.strip().encode("ascii").split(b".")
        header = json.loads(decode(head))
        payload, signature = decode(body), decode(tail)
    except ValueError as error:
        raise InvalidReceipt("This is no JWS in compact form.") from error
    if not isinstance(header, dict) or header.get("alg") != ALGORITHM or "crit" in header:
        raise InvalidReceipt(f"Its header does not say that it is signed by {ALGORITHM}.")
    key = next((key for key in keys if key["kid"] == header.get("kid")), None)
    if key is None:
        raise UnknownKey(f"It names the key {header.get('kid')!s:.80}, which is not at hand.")
    try:
        Ed25519PublicKey.from_public_bytes(decode(key["x"].encode())).verify(
            signature, head + b"." + body
        )
    except InvalidSignature:
        raise InvalidReceipt("It was changed after it was signed.") from None
    return payload


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: bytes) -> bytes:
    """Return what base64url text stands for. Raises ValueError for any other spelling of it."""
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if encode(data).encode() != text:
        # The last character has bits to spare: without this a changed byte could go unseen.
        raise ValueError("not canonical base64url")
    return data


@cache
def _load(text: str, name: str, *, is_made_if_missing: bool) -> SigningKey:
    if is_made_if_missing:
        _make_file(Path(text))
    try:
        private = _read_private(_contents(text))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ImproperlyConfigured(
            f"{name} is no Ed25519 private key, as JWK or PEM, nor a file that holds one: "
            "manage.py make_receipt_key makes one."
        ) from error
    return SigningKey(public_jwk(private.public_key())["kid"], private)


def _make_file(path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of this thread's own, and readable by nobody else.
    handle, draft = mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps(make_key()))
    # Whoever comes second finds the first one's key.
    with suppress(FileExistsError):
        os.link(draft, path)
    Path(draft).unlink()


def _contents(text: str) -> str:
    text = text.strip()
    if text and not text.startswith(("{", "-----BEGIN")):
        return Path(text).read_text().strip()
    # In an environment file a PEM has its line ends written out.
    return text.replace("\\n", "\n") if text.startswith("-----BEGIN") else text


def _read_private(text: str) -> Ed25519PrivateKey:
    if text.startswith("-----BEGIN"):
        key = load_pem_private_key(text.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 key")
        return key
    return Ed25519PrivateKey.from_private_bytes(decode(json.loads(text)["d"].encode()))


def _read_jwk(jwk: Jwk) -> dict[str, str]:
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise ValueError("not an Ed25519 key")
    return public_jwk(Ed25519PublicKey.from_public_bytes(decode(jwk["x"].encode())))
