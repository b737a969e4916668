"""Brakes: requests of one credential, requests by link and failed authentications from one
address."""

import hashlib
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from apikeys import keyformat
from contracts.authentication import client_address, key_of, read_credential


class CredentialThrottle(SimpleRateThrottle):
    """Counts the requests of a verified credential."""

    scope = "credential"

    def get_rate(self) -> str:
        return str(settings.THROTTLE_CREDENTIAL)

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        return f"credential:{key_of(request).counted_as}"


class AddressThrottle(SimpleRateThrottle):
    """Counts the requests of an address, where a link takes the place of a credential."""

    scope = "address"

    def get_rate(self) -> str:
        return str(settings.THROTTLE_CREDENTIAL)

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        return f"address:{client_address(request)}"


class GuessThrottle(AddressThrottle):
    """Counts the attempts of an address where something could be guessed: a token, a password."""

    scope = "guess"

    def get_rate(self) -> str:
        return str(settings.THROTTLE_FAILED_AUTHENTICATION)

    def get_cache_key(self, request: Any, view: Any) -> str | None:
        return f"guess:{client_address(request)}"


class FailureThrottle(SimpleRateThrottle):
    """Counts failed authentications of an address; credentials that hold are never slowed by it.

    A well-formed key that fails counts once, however often it is repeated: a client that loops
    with a key which has just died with its account is no guesser, and learns 401, not 429. Its
    repeats are counted as those of one credential.
    """

    scope = "failure"
    pause = 0.0
    """How long to wait for a credential that was repeated too often."""

    def get_rate(self) -> str:
        return str(settings.THROTTLE_FAILED_AUTHENTICATION)

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        return f"failure:{client_address(request)}"

    def allow_request(self, request: Request, view: Any) -> bool:
        text = read_credential(request, view.credentials)
        if text and keyformat.is_well_formed(text, settings.CREDENTIAL_PREFIXES):
            name = f"failed:{client_address(request)}:{hashlib.sha256(text.encode()).hexdigest()}"
            limit, seconds = self.parse_rate(settings.THROTTLE_CREDENTIAL)
            if not self.cache.add(name, 0, seconds):
                self.pause = float(seconds or 0)
                return bool(self.cache.incr(name) < (limit or 0))
        return bool(super().allow_request(request, view))

    def wait(self) -> float | None:
        return self.pause or super().wait()
