"""Health, documentation, and what answers where no contract does."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from tests.contracts.transcript import Call, assert_answer, exact

pytestmark = pytest.mark.django_db


def get(path: str, **headers: str) -> Any:
    return Client(raise_request_exception=False).get(path, headers=headers)


def test_the_service_is_healthy_and_ready() -> None:
    assert get("/healthz").json() == {"status": "ok"}
    response = get("/readyz")
    assert response.status_code == 200
    checks = response.json()["checks"]
    assert {"database", "migrations", "sweep"} <= checks.keys()
    assert set(checks.values()) == {"ok"}


def test_an_unapplied_migration_makes_it_not_ready() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'apikeys'")
    response = get("/readyz")
    assert response.status_code == 503
    assert "manage.py migrate" in response.json()["checks"]["migrations"]


def test_health_does_not_ask_the_database(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        get("/healthz")


@pytest.mark.parametrize("path", ["/", "/nothing", "/healthz/x", "/favicon.ico"])
def test_an_unknown_path_answers_as_json(path: str) -> None:
    response = get(path)
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["trace_id"]) == ("NOT_FOUND", response["X-Request-ID"])


SAYS_HOST = "This host is not served here"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/account", {"success": False, "error": "host_not_served", "message": f"{SAYS_HOST}."}),
        ("/users/x", {"message": SAYS_HOST}),
        ("/organizations/x", {"statusCode": 400, "message": SAYS_HOST}),
        ("/user/x", {"detail": SAYS_HOST}),
    ],
)
@pytest.mark.parametrize("method", ["DELETE", "GET"])
def test_a_foreign_host_is_refused_in_the_dialect(
    method: str, path: str, body: dict[str, Any]
) -> None:
    response = Call(method, path, {"Host": "evil.example"}).send()
    assert_answer(response, 400, exact(body))


@pytest.mark.parametrize("path", ["/v1/user/x", "/v1/api-keys", "/", "/healthz", "/admin/"])
@pytest.mark.parametrize("host", ["evil.example", "not a host", "localhost.evil.example"])
def test_a_foreign_host_is_refused_in_our_own_words_elsewhere(path: str, host: str) -> None:
    response = Call("GET", path, {"Host": host}).send()
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["message"]) == ("HOST_NOT_SERVED", f"{SAYS_HOST}.")


def test_every_page_carries_the_security_headers() -> None:
    for path in ("/account", "/healthz", "/docs", "/admin/login/", "/nothing"):
        response = get(path)
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in response["Content-Security-Policy"]
        assert "unsafe-eval" not in response["Content-Security-Policy"]
        assert re.match("req_", response["X-Request-ID"])


def test_the_documentation_comes_from_this_server_alone() -> None:
    page = get("/docs").content.decode()
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page)
    for address in re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"", page):
        response = get(address)
        assert response.status_code == 200, address
        response.close()
    assert get("/openapi.json").json()["openapi"] == "3.1.0"
