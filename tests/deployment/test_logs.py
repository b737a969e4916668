"""Logs are JSON lines that carry the request's id, and no key, no password and no e-mail."""

import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from time import thread_time
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test import Client, override_settings

from apikeys import keyformat
from config import logs
from tests.factories import UserFactory, give_key

BODY = "g" * keyformat.BODY_LENGTH
KEY = keyformat.from_body("sk-", BODY).text
DEMO_KEY = keyformat.from_body("sk-demo-", BODY).text
MAIL = "bob.o'hara+news@mail.example.com"


def write(message: Any, *args: Any, **extra: Any) -> dict[str, Any]:
    """Return the line that a record becomes, read back."""
    record = logging.getLogger("test").makeRecord(
        "test", logging.ERROR, __file__, 1, message, args, None, extra=extra
    )
    return read(logs.JsonFormatter().format(record))


def write_exception(error: Exception) -> str:
    try:
        raise error
    except Exception:  # noqa: BLE001 - any at all
        record = logging.getLogger("test").makeRecord(
            "test", logging.ERROR, __file__, 1, "failed", (), sys.exc_info()
        )
    line = read(logs.JsonFormatter().format(record))
    assert type(error).__name__ in line["exc_info"]
    return str(line["exc_info"])


def read(text: str) -> dict[str, Any]:
    assert "\n" not in text
    line: dict[str, Any] = json.loads(text)
    return line


def test_a_line_says_when_how_bad_where_and_what() -> None:
    line = write("%s of %d", "one", 2)
    assert line.keys() == {"time", "level", "logger", "message"}
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "test", "one of 2")


def test_a_line_carries_the_id_of_the_request_that_it_belongs_to() -> None:
    token = logs.request_id.set("req_1")
    try:
        assert write("during")["request_id"] == "req_1"
    finally:
        logs.request_id.reset(token)
    assert "request_id" not in write("after")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"mail to {MAIL} failed", "mail to [e-mail] failed"),
        ("mail to bob%40example.com failed", "mail to [e-mail] failed"),
        ("<Bob.Baker@EXAMPLE.com>", "<[e-mail]>"),
        ("bob@example.com,dana@example.com", "[e-mail],[e-mail]"),
        ("one\nbob@example.com", "one\n[e-mail]"),
        ("one\tbob@example.com", "one\t[e-mail]"),
        ('"bob@example.com"', '"[e-mail]"'),
        ("C:\\bob@example.com", "C:\\[e-mail]"),
        ("jürgen@example.com", "[e-mail]"),
        ("bob@bücher.example", "[e-mail]"),
        (f"key {KEY} is bad", "key [secret] is bad"),
        (f"key {DEMO_KEY} is bad", "key [secret] is bad"),
        (f"x-api-key={KEY}&next", "x-api-key=[secret]&next"),
        (f"one\n{KEY}", "one\n[secret]"),
        (f'{{"token": "{KEY}"}}', '{"token": "[secret]"}'),
        ("Authorization: Bearer abc.def~ghi/jkl=", "Authorization: Bearer [secret]"),
        ("authorization: bearer  abcdef", "authorization: bearer  [secret]"),
        ("postgres://sexton:pa55/w0rd@db/sexton", "postgres://sexton:[secret]@db/sexton"),
        ("redis://:pa55w0rd@cache/0", "redis://:[secret]@cache/0"),
        ("psycopg+tls://u:p@db.example.com/x", "psycopg+tls://u:[secret]@db.example.com/x"),
    ],
)
def test_secrets_and_addresses_are_masked_in_a_message(said: str, kept: str) -> None:
    assert write(said)["message"] == kept
    assert write("%s", said)["message"] == kept


@pytest.mark.parametrize(
    "said",
    [
        "req_01h2xcejqtf2nbrexx3vqjhp41",
        "usr_01h2xcejqtf2nbrexx3vqjhp41",
        "01a208a9-c57f-72f3-96cb-60f7823b1fe5",
        "v1/user/(?P<user_id>[^/]*)$",
        "https://sexton.example/users/1?a=b#c",
        "a @ b, 3 @ 4",
        'Grüße, "quoted" \\ and \u2028 all',
    ],
)
def test_what_is_neither_stays_as_it_was(said: str) -> None:
    assert write(said)["message"] == said


def test_extra_values_are_masked_however_deep_they_lie() -> None:
    line = write("x", headers={"Authorization": [f"Bearer {KEY}"]}, who=MAIL, about={MAIL: (MAIL,)})
    assert line["headers"] == {"Authorization": ["Bearer [secret]"]}
    assert line["who"] == "[e-mail]"
    assert MAIL not in json.dumps(line)


def test_extra_numbers_stay_numbers() -> None:
    line = write("x", status=204, ms=1.5, route=None)
    assert (line["status"], line["ms"], line["route"]) == (204, 1.5, None)


def test_a_databases_complaint_does_not_quote_the_value() -> None:
    complaint = "duplicate key\nDETAIL:  Key (email)=(x@y.z) already exists."
    assert "Key (email)=([e-mail]) already exists." in write_exception(IntegrityError(complaint))


def test_a_failing_rows_values_are_masked_in_a_traceback() -> None:
    text = write_exception(ValueError(f"Failing row contains (1, {MAIL}, {KEY}).\n{MAIL}"))
    assert MAIL not in text
    assert KEY not in text
    assert "Failing row contains (1, [e-mail], [secret])." in text


@pytest.mark.parametrize("piece", ["a", "a-", "a.", "%40", "a@", "a://a:", "bearer ", "_"])
def test_a_long_text_is_masked_in_proportion_to_its_length(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    started = thread_time()
    logs.scrub(text)
    # Of this thread's own, however busy the machine: some hundredths of a second. Patterns that
    # backtrack need several seconds.
    assert thread_time() - started < 1


@override_settings(API_KEY_PREFIX="acme_", API_KEY_PREFIXES=("acme_",))
def test_keys_with_a_prefix_of_the_operators_own_are_masked() -> None:
    key = keyformat.from_body("acme_", BODY).text
    assert key not in write(f"key {key} is bad")["message"]


@pytest.fixture
def lines() -> Iterator[StringIO]:
    """What the whole process logs, in the form in which it would be written."""
    written = StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield written
    finally:
        root.removeHandler(handler)


@pytest.mark.django_db
def test_a_requests_line_names_the_route_and_the_id_that_the_client_was_told(
    lines: StringIO,
) -> None:
    user = UserFactory(username="alice", email=MAIL)
    key = give_key(user)
    answer = Client().delete(f"/v1/user/{MAIL}?key={key}", headers={"X-API-Key": key})
    [line] = [read(text) for text in lines.getvalue().splitlines()]
    assert line["logger"] == "sexton.requests"
    assert line["request_id"] == answer.headers["X-Request-ID"]
    assert (line["method"], line["status"]) == ("DELETE", answer.status_code)
    assert line["route"].startswith("^v1/user/")
    for secret in (MAIL, key, "alice"):
        assert secret not in lines.getvalue()


def refuse_to_delete_users() -> None:
    """Let the database answer every deletion of a user with an error that quotes the address, for
    as long as the test's transaction lasts."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "CREATE TRIGGER complain BEFORE DELETE ON accounts_user BEGIN "
                f"SELECT RAISE(ABORT, 'Key (email)=({MAIL.replace("'", "''")}) is in use.'); END"
            )
            return
        cursor.execute(
            "CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'Key (email)=(%) is in use.', OLD.email USING ERRCODE = '23503'; "
            "END $$"
        )
        cursor.execute(
            "CREATE TRIGGER complain BEFORE DELETE ON accounts_user "
            "FOR EACH ROW EXECUTE FUNCTION complain()"
        )


@pytest.mark.django_db
def test_an_unexpected_error_is_logged_with_its_traceback_and_quotes_nobody(
    lines: StringIO,
) -> None:
    key = give_key(UserFactory(username="alice", email=MAIL))
    refuse_to_delete_users()
    answer = Client(raise_request_exception=False).delete(
        "/account", b'{"confirm": true}', "application/json", headers={"X-API-Key": key}
    )
    assert answer.status_code == 500
    written = [read(text) for text in lines.getvalue().splitlines()]
    [error] = [line for line in written if line["level"] == "ERROR"]
    assert error["request_id"] == answer.headers["X-Request-ID"]
    assert "Key (email)=([e-mail]) is in use." in error["exc_info"]
    for secret in (MAIL, key, "alice"):
        assert secret not in lines.getvalue()


@pytest.mark.parametrize("path", ["/users/bob%40example.com/x/y", f"/nowhere/{KEY}"])
def test_an_unknown_path_is_not_quoted(lines: StringIO, path: str) -> None:
    assert Client().get(path).status_code == 404
    written = lines.getvalue()
    assert "bob" not in written
    assert KEY not in written
    assert all(read(text)["request_id"] for text in written.splitlines())


def test_a_foreign_host_is_not_quoted(lines: StringIO) -> None:
    Client().get("/docs", headers={"host": "probe.example"})
    assert "probe.example" not in lines.getvalue()
