"""Answers what oauthlib asks while it serves a request; ``issuing`` writes.

The package's own validator authenticates applications and compares addresses. Whatever concerns a
stored token is ours, for its rows are laid out otherwise. The page puts the ``actor`` who consents
into the credentials.
"""

from typing import Any

from django.utils import timezone
from django.utils.crypto import constant_time_compare
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.oauth2.rfc6749 import errors

from apikeys import keyformat
from organizations.oauth import issuing
from organizations.oauth.exceptions import NotIssued
from organizations.oauth.models import Grant
from organizations.oauth.services import end_reused, revoke_as_application
from organizations.oauth.tokens import is_accepted_secret


class Validator(OAuth2Validator):
    def _extract_basic_auth(self, request: Any) -> str | None:
        # RFC 9110, section 11.1: the scheme's name is case-insensitive.
        scheme, _, text = str(request.headers.get("HTTP_AUTHORIZATION") or "").partition(" ")
        return text.strip() if scheme.lower() == "basic" and text else None

    def _check_secret(self, provided_secret: str, stored_secret: str) -> bool:
        # The package takes an empty secret for that of a public application.
        if not stored_secret or not is_accepted_secret(provided_secret):
            return False
        return constant_time_compare(keyformat.digest(provided_secret), stored_secret)

    def save_authorization_code(
        self, client_id: str, code: Any, request: Any, *args: Any, **kwargs: Any
    ) -> None:
        consent = issuing.Consent(
            scopes=request.scopes,
            redirect_uri=request.redirect_uri,
            code_challenge=request.code_challenge,
            code_challenge_method=request.code_challenge_method,
        )
        try:
            issuing.write_code(
                actor=request.actor,
                application_id=request.client.pk,
                code=code["code"],
                consent=consent,
                now=timezone.now(),
            )
        except NotIssued as refused:
            raise errors.AccessDeniedError(refused.reason, request=request) from refused

    def validate_code(
        self, client_id: str, code: str, client: Any, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        grant = Grant.objects.filter(code=code, application=client).select_related("user").first()
        if grant is None:
            return False
        now = timezone.now()
        if grant.used_for is not None:
            end_reused(grant.used_for, now=now)
            return False
        request.user, request.scopes = grant.user, grant.scope.split()
        return bool(grant.expires > now)

    def invalidate_authorization_code(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is left to do: the code was spent in the transaction that issued the tokens."""

    def validate_refresh_token(
        self, refresh_token: str, client: Any, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        found = issuing.find_authorization(
            refresh_token, application_id=client.pk, now=timezone.now()
        )
        if found is None:
            return False
        request.user, request.refresh_token_instance = found.user, found
        return True

    def get_original_scopes(
        self, refresh_token: str, request: Any, *args: Any, **kwargs: Any
    ) -> list[str]:
        return list(request.refresh_token_instance.scope.split())

    def save_bearer_token(self, token: Any, request: Any, *args: Any, **kwargs: Any) -> None:
        """Issue tokens, and put them in the place of those that oauthlib made up."""
        try:
            issued = _issue(request, token["scope"])
        except NotIssued as refused:
            raise errors.InvalidGrantError(refused.reason, request=request) from refused
        token["access_token"] = issued.access_token
        if issued.refresh_token:
            token["refresh_token"] = issued.refresh_token

    def revoke_token(
        self, token: str, token_type_hint: str, request: Any, *args: Any, **kwargs: Any
    ) -> None:
        revoke_as_application(application=request.client, text=token, now=timezone.now())


def _issue(request: Any, scope: str) -> issuing.IssuedTokens:
    now = timezone.now()
    if request.grant_type == "authorization_code":
        return issuing.exchange_code(
            application_id=request.client.pk, code=request.code, scope=scope, now=now
        )
    if request.grant_type == "refresh_token":
        return issuing.refresh_tokens(
            authorization_id=request.refresh_token_instance.pk,
            refresh_token=request.refresh_token,
            scope=scope,
            now=now,
        )
    return issuing.issue_to_application(application_id=request.client.pk, scope=scope, now=now)
