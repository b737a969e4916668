"""Health, readiness, metrics, and the answers to requests that no contract claims."""

from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.csp import CSP
from django.views.decorators.http import require_safe
from django.views.generic import TemplateView
from rest_framework.exceptions import NotAuthenticated, ParseError

from contracts.authentication import request_id_of
from contracts.base import Contract, find_refusal
from contracts.errors import HostNotServed, Problem, Refusal, UnknownPath
from contracts.house import HouseApi
from erasure import health, metrics
from erasure.health import Finding


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that the process answers. Touches nothing else."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Say whether requests would succeed: 200, or 503 with what is wrong."""
    findings = {"database": _check_database()}
    if not findings["database"].red:
        findings["migrations"] = _check_migrations()
        if not findings["migrations"].red:
            findings |= health.find(timezone.now())
    ready = not any(finding.red for finding in findings.values())
    checks = {name: finding.text for name, finding in findings.items()}
    body = {"status": "ready" if ready else "not ready", "checks": checks}
    return JsonResponse(body, status=200 if ready else 503)


@require_safe
def show_metrics(request: HttpRequest) -> HttpResponse:
    """Give a monitor its numbers. Production has this page only with a token to ask for.

    No exception for callers on this machine: behind a proxy that runs here, everybody is one.
    """
    if not settings.METRICS_TOKEN:
        if settings.PRODUCTION:
            raise Http404
    elif not _bears(request, settings.METRICS_TOKEN):
        answer = _refuse(request, NotAuthenticated())
        answer.headers["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return answer
    answer = HttpResponse(metrics.render_metrics(), content_type=metrics.CONTENT_TYPE)
    answer.headers["Cache-Control"] = "no-store"
    return answer


class DocumentationView(TemplateView):
    """The OpenAPI document as an interactive page, from this server's own files."""

    template_name = "docs.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        # Swagger UI writes style attributes; nothing else on this page may.
        policy = {**settings.SECURE_CSP, "style-src": [CSP.SELF, CSP.UNSAFE_INLINE]}
        response._csp_config = policy  # type: ignore[attr-defined]
        return response


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _refuse(request, UnknownPath())


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer what Django gave up on before any contract was asked."""
    if isinstance(exception, DisallowedHost):
        return _refuse(request, HostNotServed())
    return _refuse(request, ParseError())


def server_error(request: HttpRequest) -> HttpResponse:
    return _refuse(request, Exception())


def behind(request: HttpRequest, reason: str) -> HttpResponse:
    """Answer while the database is older than its ledger: in the dialect of the path, or to staff
    in words of their own. ``reason`` is for those who run the service."""
    if request.path_info.startswith("/admin"):
        return render(request, "behind.html", status=503)
    contract = _contract_at(request.path_info)
    _, _, code = find_refusal(contract.errors, Exception())
    refusal = Refusal(503, "The service is being brought up to date.", code)
    problem = Problem(refusal, Exception(), request_id_of(request), timezone.now())
    return JsonResponse(contract.envelope(problem), status=503)


def _refuse(request: HttpRequest, error: Exception) -> HttpResponse:
    """Answer outside of any view, in the dialect of the path all the same."""
    contract = _contract_at(request.path_info)
    refusal = find_refusal(contract.errors, error)
    if isinstance(error, ParseError):
        # Nothing was parsed: the contract's words for a body would be beside the point.
        code = refusal.code if refusal.status == 400 else ""
        refusal = Refusal(400, "This request cannot be understood.", code)
    problem = Problem(refusal, error, request_id_of(request), timezone.now())
    return JsonResponse(
        contract.envelope(problem),
        status=refusal.status,
        json_dumps_params={"separators": (",", ":"), "ensure_ascii": False},
    )


def _contract_at(path: str) -> type[Contract]:
    try:
        found = getattr(resolve(path).func, "cls", None)
    except Resolver404:
        return HouseApi
    return found if isinstance(found, type) and issubclass(found, Contract) else HouseApi


def _bears(request: HttpRequest, token: str) -> bool:
    scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and constant_time_compare(sent.strip(), token)


def _check_database() -> Finding:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return Finding("unreachable", red=True)
    return Finding()


def _check_migrations() -> Finding:
    executor = MigrationExecutor(connection)
    plan: list[Any] = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        return Finding(f"{len(plan)} to apply: run manage.py migrate", red=True)
    return Finding()
