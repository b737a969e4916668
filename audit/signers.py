"""Who signs checkpoints and who is believed: told from outside, since this room knows no keys."""

from collections.abc import Callable

from django.core.exceptions import ImproperlyConfigured

from audit.notes import Signer, Verifier

_signer: list[Callable[[], Signer]] = []
_verifiers: list[Callable[[], list[Verifier]]] = []


def register_signer(sign: Callable[[], Signer], verify: Callable[[], list[Verifier]]) -> None:
    """Name who signs from now on, and whose signatures are accepted: that key's and those of older
    keys."""
    _signer.append(sign)
    _verifiers.append(verify)


def signer() -> Signer:
    """Return who signs checkpoints now. Raises ImproperlyConfigured when there is nobody."""
    if not _signer:
        raise ImproperlyConfigured("Nobody signs the audit log's checkpoints: register_signer.")
    return _signer[-1]()


def verifiers() -> list[Verifier]:
    """Return the public keys that checkpoints may be verified with, each under the log's name and
    under those that it had before: a key is known by its name."""
    return _verifiers[-1]() if _verifiers else []
