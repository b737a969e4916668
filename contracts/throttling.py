"""Two brakes: requests of one credential, and failed authentications from one address."""

import hashlib
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from apikeys import keyformat
from contracts.authentication import client_address, read_credential


class CredentialThrottle(SimpleRateThrottle):
    """Counts the requests of a verified credential."""

    scope = "credential"

    def get_rate(self) -> str:
        return str(settings.THROTTLE_CREDENTIAL)

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        return f"credential:{request.auth.id}" if request.auth else None


class FailureThrottle(SimpleRateThrottle):
    """Counts failed authentications of an address; credentials that hold are never slowed by it.

    A well-formed key that fails counts once, however often it is repeated: a client that loops
    with a key which has just died with its account is no guesser, and learns 401, not 429. Its
    repeats are counted as those of one credential.
    """

    scope = "failure"
    history: tuple[float, ...] | list[float] = ()

    def get_rate(self) -> str:
        return str(settings.THROTTLE_FAILED_AUTHENTICATION)

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        return f"failure:{client_address(request)}"

    def allow_request(self, request: Request, view: Any) -> bool:
        text = read_credential(request, view.credentials)
        if text and keyformat.is_well_formed(text, settings.API_KEY_PREFIXES):
            name = f"failed:{client_address(request)}:{hashlib.sha256(text.encode()).hexdigest()}"
            if not self.cache.add(name, 0, self.duration):
                limit, _ = self.parse_rate(settings.THROTTLE_CREDENTIAL)
                return bool(self.cache.incr(name) < limit)
        return bool(super().allow_request(request, view))

    def wait(self) -> float | None:
        return super().wait() if self.history else float(self.duration)
