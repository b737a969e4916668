"""The frame that every contract and every house API stands in.

A contract says which credentials it takes, which right each action needs, what its errors read like
and how its envelope looks. The frame does the rest, in this order: method, first answer to a known
Idempotency-Key, credential, right, throttle, action.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Never
from uuid import UUID

from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.exceptions import (
    AuthenticationFailed,
    MethodNotAllowed,
    NotAuthenticated,
    PermissionDenied,
    Throttled,
)
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from apikeys.verification import touch_key
from audit.actors import Actor
from contracts import idempotency
from contracts.authentication import (
    BEARER,
    KEY_HEADER,
    KeyAuthentication,
    actor_of,
    key_of,
    read_credential,
    request_id_of,
)
from contracts.errors import BodyTooLarge, Problem, Refusal, UnknownPath
from contracts.parsing import JSONObjectParser
from contracts.throttling import CredentialThrottle, FailureThrottle

logger = logging.getLogger("sexton.contracts")

ErrorTable = Mapping[type[Exception], Refusal]


class AlwaysJSON(BaseContentNegotiation):
    """The dialects speak JSON whatever the client says it accepts."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        kind = (request.content_type or "application/json").split(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class AnswerKnown(Exception):
    """Not an error: it carries the first answer out of the frame."""

    def __init__(self, replay: idempotency.Replay) -> None:
        self.replay = replay


class Contract(ViewSet):
    channel: ClassVar[str]
    """Names the contract in audit events."""
    credentials: ClassVar[tuple[str, ...]] = (BEARER, KEY_HEADER)
    takes_tokens: ClassVar[bool] = False
    """Whether an OAuth access token in Authorization will do as well."""
    rights: ClassVar[Mapping[str, str]]
    """Action to the scope that it needs."""
    errors: ClassVar[ErrorTable]
    """Exception to refusal; the nearest class in an exception's ancestry decides."""
    reads_body: ClassVar[bool] = False
    keeps_answers: ClassVar[bool] = True
    """Whether Idempotency-Key is honoured. Off where an answer holds a secret."""
    ends_credential: ClassVar[bool] = False
    """Whether success kills the credential that asked, so that its use need not be written down."""

    parser_classes = (JSONObjectParser,)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = AlwaysJSON
    throttle_classes = (CredentialThrottle,)
    is_catch_all = False
    is_alias = False
    """Set on a second address of an action, which is served but not documented."""
    answer_id: UUID | None = None

    @staticmethod
    def envelope(problem: Problem) -> dict[str, Any]:
        """Return the error body; each contract puts its dialect's in this place."""
        return {"message": problem.refusal.text, "trace_id": problem.trace_id}

    @classmethod
    def unknown_path(cls) -> Callable[..., HttpResponseBase]:
        """Return the view that answers 404 for unknown paths in this dialect."""
        view: Callable[..., HttpResponseBase] = cls.as_view({"get": "refuse"}, is_catch_all=True)
        return view

    @property
    def actor(self) -> Actor:
        return actor_of(self.request, self.channel)

    @property
    def allowed_methods(self) -> list[str]:
        return sorted(method.upper() for method in self.action_map)

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {}

    def refuse(self, request: Request, *args: Any, **kwargs: Any) -> Never:
        raise UnknownPath

    def get_authenticators(self) -> list[Any]:
        return [KeyAuthentication(self.credentials, takes_tokens=self.takes_tokens)]

    def get_permissions(self) -> list[Any]:
        return []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if self.is_catch_all:
            raise UnknownPath
        if (request.method or "").lower() not in self.action_map:
            raise MethodNotAllowed(request.method or "")
        key = idempotency.read_key(request) if self._may_keep(request) else None
        if key:
            self._replay(key, request, may_start=False)
        self.admit(request)
        self.check_throttles(request)
        self.examine(request)
        if key:
            self._replay(key, request, may_start=True)

    def admit(self, request: Request) -> None:
        """Let in whoever brings a living credential with the right that the action needs."""
        self.authenticate(request)
        if self.rights[self.action] not in key_of(request).scopes:
            raise PermissionDenied

    def examine(self, request: Request) -> None:
        """Refuse a request that has not the contract's form. Such an answer is never kept under an
        Idempotency-Key, so that the client can mend the request and send it again."""

    def get_exception_handler(self) -> Callable[..., HttpResponseBase]:
        return self.answer_error

    def answer_error(self, error: Exception, context: Mapping[str, Any]) -> HttpResponseBase:
        """Return the dialect's answer to an exception; whatever is no known refusal is a 500."""
        if isinstance(error, AnswerKnown):
            return error.replay.respond()
        if isinstance(error, RequestDataTooBig):
            error = BodyTooLarge()
        refusal = find_refusal(self.errors, error)
        if refusal.status >= 500:
            logger.error("unhandled exception", exc_info=error)
        problem = Problem(refusal, error, request_id_of(self.request._request), timezone.now())
        return Response(
            self.envelope(problem), status=refusal.status, headers=self._headers_of(error, refusal)
        )

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers.setdefault("X-Request-ID", request_id_of(request._request))
        response.headers.setdefault("Cache-Control", "no-store")
        # "It is gone" is all that the success of a DELETE says, in every dialect.
        response.shows_nothing = request.method == "DELETE" and response.status_code < 300
        key = getattr(request, "_auth", None)
        if key is not None and not (self.ends_credential and response.status_code < 300):
            touch_key(key, now=timezone.now())
        if self.answer_id is not None:
            self._keep(response, self.answer_id)
        return response

    def authenticate(self, request: Request) -> None:
        """Raise NotAuthenticated without a living credential; Throttled for too many attempts."""
        try:
            if request.user is None or request.auth is None:
                raise NotAuthenticated
        except (NotAuthenticated, AuthenticationFailed):
            brake = FailureThrottle()
            if not brake.allow_request(request, self):
                self.throttled(request, brake.wait())
            raise NotAuthenticated from None

    def throttled(self, request: Request, wait: float | None) -> Never:
        raise Throttled(wait)

    def _headers_of(self, error: Exception, refusal: Refusal) -> dict[str, str]:
        headers = {}
        if isinstance(error, MethodNotAllowed):
            headers["Allow"] = ", ".join(self.allowed_methods)
        if isinstance(error, Throttled):
            headers["Retry-After"] = str(max(1, getattr(error, "wait", None) or 1))
        if refusal.status == 401:
            headers["WWW-Authenticate"] = self.get_authenticate_header(self.request)
        return headers

    def _may_keep(self, request: Request) -> bool:
        return self.keeps_answers and request.method not in ("GET", "HEAD")

    def _replay(self, key: str, request: Request, *, may_start: bool) -> None:
        found = idempotency.begin(
            key=key,
            credential=read_credential(request, self.credentials) or "",
            fingerprint=idempotency.fingerprint_of(request, with_body=self.reads_body),
            may_start=may_start,
            now=timezone.now(),
        )
        if isinstance(found, idempotency.Replay):
            raise AnswerKnown(found)
        self.answer_id = found

    def _keep(self, response: HttpResponseBase, answer_id: UUID) -> None:
        def keep(done: HttpResponse) -> None:
            idempotency.finish(answer_id, done)

        if isinstance(response, Response):
            response.add_post_render_callback(keep)
        elif isinstance(response, HttpResponse):
            keep(response)


def find_refusal(errors: ErrorTable, error: Exception) -> Refusal:
    """Return the refusal of the nearest class in an exception's ancestry."""
    return next(errors[kind] for kind in type(error).__mro__ if kind in errors)
