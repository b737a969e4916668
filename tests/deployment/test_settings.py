"""Production settings: what they insist on, and what they switch on."""

import ast
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from tests.deployment.shell import PRODUCTION, ROOT, manage, python

SHOW = """
import json, sys, django
from django.conf import settings
print(json.dumps({name: getattr(settings, name) for name in sys.argv[1:]}))
"""
ASK = """
import json, sys, django
django.setup()
from django.test import Client
answer = Client().get(
    sys.argv[1], secure=sys.argv[2] == "https", headers=json.loads(sys.argv[3])
)
print(json.dumps([answer.status_code, {name.lower(): it for name, it in answer.headers.items()}]))
"""
HOST = {"host": "sexton.example"}


class Ask(Protocol):
    def __call__(
        self, path: str, scheme: str, headers: dict[str, str] | None = None, **variables: str
    ) -> Any: ...


@pytest.fixture
def ask(static_root: Path) -> Ask:
    """Returns status and headers of a GET under production settings."""

    def get(path: str, scheme: str, headers: dict[str, str] | None = None, **variables: str) -> Any:
        sent = json.dumps({**HOST, **(headers or {})})
        return run(ASK, path, scheme, sent, STATIC_ROOT=str(static_root), **variables)

    return get


def settings(*names: str, **variables: str) -> Any:
    return run(SHOW, *names, **variables)


def run(code: str, *args: str, **variables: str) -> Any:
    variables = {**PRODUCTION, "DJANGO_SETTINGS_MODULE": "config.settings", **variables}
    done = python("-W", "error", "-c", code, *args, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "name",
    [
        "SECRET_KEY",
        "ALLOWED_HOSTS",
        "DATABASE_URL",
        "EMAIL_URL",
        "ERASURE_LEDGER",
        "RECEIPT_SIGNING_KEY",
    ],
)
def test_production_does_not_start_without_a_required_variable_and_names_it(name: str) -> None:
    # Empty rather than absent: a .env file beside the code could fill in what is absent.
    done = manage("check", **{**PRODUCTION, name: ""})
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert f"ImproperlyConfigured: Set the environment variable {name}: " in last
    assert last.endswith(".")


def test_an_unknown_environment_is_refused() -> None:
    done = manage("check", **{**PRODUCTION, "ENVIRONMENT": "staging"})
    assert done.returncode != 0
    assert "ENVIRONMENT must be 'development' or 'production'." in done.stderr


def test_a_prefix_that_would_let_demo_keys_in_is_refused() -> None:
    done = manage("check", **{**PRODUCTION, "API_KEY_PREFIX": "sk-demo-"})
    assert done.returncode != 0
    assert "API_KEY_PREFIX must not end in 'demo-', which marks demo keys." in done.stderr


def test_a_database_of_another_kind_is_refused() -> None:
    done = manage("check", **{**PRODUCTION, "DATABASE_URL": "mysql://root@localhost/sexton"})
    assert done.returncode != 0
    assert "DATABASE_URL must name PostgreSQL or SQLite." in done.stderr


@pytest.mark.parametrize("proxies", ["0", "1"])
def test_djangos_deployment_check_has_nothing_to_say(proxies: str) -> None:
    args = ("check", "--deploy", "--fail-level", "WARNING")
    done = manage(*args, **{**PRODUCTION, "NUM_PROXIES": proxies})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "System check identified no issues (1 silenced).\n"


def test_a_short_secret_fails_the_deployment_check() -> None:
    args = ("check", "--deploy", "--fail-level", "WARNING")
    done = manage(*args, **{**PRODUCTION, "SECRET_KEY": "short"})
    assert done.returncode == 1
    assert "security.W009" in done.stderr


def test_development_answers_localhost_only_and_never_debugs() -> None:
    development = {"ENVIRONMENT": "development", "ALLOWED_HOSTS": ""}
    assert settings("ALLOWED_HOSTS", "DEBUG", **development) == {
        "ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]"],
        "DEBUG": False,
    }


def test_cookies_travel_over_https_only_and_are_hidden_from_scripts() -> None:
    secure = settings("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY")
    assert all(secure.values())


def test_production_knows_neither_the_demos_keys_nor_its_passwords() -> None:
    assert settings("API_KEY_PREFIXES", "PASSWORD_HASHERS") == {
        "API_KEY_PREFIXES": ["sk-"],
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.Argon2PasswordHasher"],
    }


def test_plain_http_is_redirected_to_https(ask: Ask) -> None:
    status, headers = ask("/account", "http")
    assert (status, headers["location"]) == (301, "https://sexton.example/account")


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 200), ("/readyz", 503), ("/metrics", 404)]
)
def test_probes_are_answered_over_plain_http(ask: Ask, path: str, status: int) -> None:
    # 503 from /readyz: this test's database has no tables. 404 from /metrics: there is no token.
    assert ask(path, "http")[0] == status


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("database", "django_tasks_db.DatabaseBackend"),
        ("immediate", "django.tasks.backends.immediate.ImmediateBackend"),
        ("dummy", "django.tasks.backends.dummy.DummyBackend"),
        ("engines.rq.Backend", "engines.rq.Backend"),
    ],
)
def test_the_engine_of_background_work_is_a_setting(name: str, path: str) -> None:
    tasks = settings("TASKS", TASKS_BACKEND=name, TASKS_OPTIONS='{"url": "x"}')["TASKS"]
    assert tasks == {"default": {"BACKEND": path, "QUEUES": [], "OPTIONS": {"url": "x"}}}


def test_an_interval_of_nothing_is_refused() -> None:
    done = manage("check", **{**PRODUCTION, "ERASURE_SWEEP_SECONDS": "0"})
    assert done.returncode != 0
    assert "ERASURE_SWEEP_SECONDS must be 1 or more." in done.stderr


@pytest.mark.parametrize("name", ["AUDIT_ORIGIN", "AUDIT_FORMER_ORIGINS"])
def test_a_name_that_no_signed_note_can_bear_is_refused(name: str) -> None:
    done = manage("check", **{**PRODUCTION, name: "one.example/audit,two+three"})
    assert done.returncode != 0
    assert "must hold neither white space nor a plus sign." in done.stderr


def test_browsers_are_told_to_stay_on_https(ask: Ask) -> None:
    _, headers = ask("/healthz", "https")
    wanted = "max-age=31536000; includeSubDomains; preload"
    assert headers["strict-transport-security"] == wanted


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/no/such/path", "/v1/no/such/path"])
def test_every_answer_carries_a_content_security_policy(ask: Ask, path: str) -> None:
    _, headers = ask(path, "https")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe-eval" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_a_foreign_host_is_refused(ask: Ask) -> None:
    assert ask("/docs", "https", {"host": "elsewhere.example"})[0] == 400


def test_a_forwarded_scheme_is_believed_only_behind_a_proxy(ask: Ask) -> None:
    forwarded = {"x-forwarded-proto": "https"}
    assert ask("/docs", "http", forwarded, NUM_PROXIES="0")[0] == 301
    assert ask("/docs", "http", forwarded, NUM_PROXIES="1")[0] == 200


def test_the_redirect_can_be_left_to_the_proxy(ask: Ask) -> None:
    assert ask("/docs", "http", SECURE_SSL_REDIRECT="false")[0] == 200


def read_by_settings() -> set[str]:
    """Return the variables that config/settings.py reads: ``env.…("NAME")`` and ``require("NAME")``
    with a literal name."""
    calls = (
        node
        for node in ast.walk(ast.parse((ROOT / "config" / "settings.py").read_text()))
        if isinstance(node, ast.Call) and node.args
    )
    readers = [(ast.unparse(call.func), call.args[0]) for call in calls]
    return {
        name.value
        for reader, name in readers
        if (reader.startswith("env.") or reader == "require")
        and isinstance(name, ast.Constant)
        and isinstance(name.value, str)
    }


def explained() -> tuple[dict[str, str], dict[str, str]]:
    """Return what .env.example lists: variables of the settings, and those of the containers."""
    ours, theirs = (ROOT / ".env.example").read_text().split("# --- read by compose.yaml", 1)
    line = re.compile(r"^(?:# )?([A-Z][A-Z_]+)=(.*)$", re.MULTILINE)
    return dict(line.findall(ours)), dict(line.findall(theirs))


def test_the_example_lists_exactly_the_variables_that_the_settings_read() -> None:
    assert read_by_settings() == explained()[0].keys(), (
        "Add the variable to .env.example with its default and a line on what it does, and to the "
        "table in docs/operations.md."
    )


def test_the_example_lists_exactly_the_variables_that_the_containers_read() -> None:
    compose = (ROOT / "compose.yaml").read_text() + (ROOT / "Dockerfile").read_text()
    used = set(re.findall(r"\$\{([A-Z_]+)", compose))
    assert used - read_by_settings() == explained()[1].keys()


def test_every_line_of_the_example_is_explained() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    for before, line in pairwise(lines):
        if re.match(r"(# )?[A-Z_]+=", line):
            assert before.startswith("# "), line


def test_the_operators_guide_explains_every_variable() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    ours, theirs = explained()
    missing = [name for name in (*ours, *theirs) if f"| `{name}` |" not in guide]
    assert missing == []


def test_the_examples_defaults_are_the_real_ones() -> None:
    names = ["THROTTLE_CREDENTIAL", "THROTTLE_FAILED_AUTHENTICATION", "NUM_PROXIES", "LOGGING"]
    names += ["BODY_LIMIT", "API_KEY_PREFIX", "SECURE_SSL_REDIRECT", "CACHES"]
    names += ["TASKS", "ERASURE_SWEEP_EXPECTED", "METRICS_TOKEN"]
    names += ["SECURE_HSTS_SECONDS", "DATABASES", "SECRET_KEY_FALLBACKS", "CSRF_TRUSTED_ORIGINS"]
    spelled_out = {name: value for name, value in explained()[0].items() if value}
    for name in ("ENVIRONMENT", "VAR_DIR", "STATIC_ROOT"):
        del spelled_out[name]
    url = {"DATABASE_URL": "postgres://sexton:secret@localhost/sexton"}
    assert settings(*names, **url) == settings(*names, **url, **spelled_out)


def test_the_compose_file_holds_together() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = compose["services"]
    assert services.keys() == {"service", "worker", "migrate", "database"}
    for name in ("service", "worker"):
        assert services[name]["init"] is True
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"}
        }
    assert services["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"
    assert services["database"]["volumes"]
    assert services["service"]["volumes"] == services["worker"]["volumes"] == ["ledger:/ledger"]
    assert services["worker"]["environment"]["ERASURE_LEDGER"] == "/ledger/erasures.jsonl"
    assert set(compose["volumes"]) == {"database", "ledger"}
    assert services["worker"]["command"] == ["python", "manage.py", "worker"]
    assert services["worker"]["stop_grace_period"] == "60s"


def test_the_compose_file_has_no_default_secrets() -> None:
    text = (ROOT / "compose.yaml").read_text()
    names = ("SECRET_KEY", "POSTGRES_PASSWORD", "ALLOWED_HOSTS", "EMAIL_URL", "RECEIPT_SIGNING_KEY")
    for name in names:
        assert text.count(f"${{{name}") == text.count(f"${{{name}:?") > 0
