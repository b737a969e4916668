"""Nothing that the other side does can take long, take much, or pass for somebody else."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from organizations.webhooks import sending, targets
from organizations.webhooks.sending import KEPT, post
from tests.webhooks.certificates import certify
from tests.webhooks.receiver import Receiver, listening

NAME = "hooks.example.test"


@contextmanager
def raw(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Run a server of no manners; ``behave`` may go on until the event is set."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)

        def serve() -> None:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client, suppress(OSError):
                behave(client, over)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            over.set()
            thread.join()


def hang(client: socket.socket, over: threading.Event) -> None:
    over.wait(60)


@pytest.fixture(autouse=True)
def _loopback(settings: Any) -> None:
    settings.WEBHOOKS_ALLOW_LOOPBACK = True


def test_a_request_is_what_it_should_be(receiver: Receiver) -> None:
    answer = post(f"{receiver.url}?a=b", '{"a": "ü"}', {"X-One": "1"})
    assert (answer.status, answer.body, answer.error) == (200, "ok", "")
    [request] = receiver.requests
    assert request.path == "/hook?a=b"
    assert request.body == '{"a": "ü"}'.encode()
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["x-one"] == "1"


def test_of_an_answer_the_first_kibibyte_is_read(receiver: Receiver) -> None:
    receiver.answer = lambda request: (500, {}, b"x" * 10_000_000)
    answer = post(receiver.url, "{}", {})
    assert (answer.status, answer.body) == (500, "x" * KEPT)


def test_a_body_that_is_no_text_is_kept_as_far_as_it_is(receiver: Receiver) -> None:
    receiver.answer = lambda request: (200, {"Content-Encoding": "gzip"}, b"\xff\x00ok")
    assert post(receiver.url, "{}", {}).body == "\ufffd\ufffdok"


def test_one_who_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "READ", 0.2)
    with raw(hang) as url:
        assert post(url, "{}", {}).error == "timed out"


@pytest.mark.parametrize(
    "first",
    [b"", b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"],
    ids=["status", "headers", "body"],
)
def test_one_who_drips_is_left_when_all_of_it_takes_too_long(
    first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TOTAL", 0.6)

    def drip(client: socket.socket, over: threading.Event) -> None:
        client.sendall(first)
        while not over.wait(0.02):
            client.sendall(b"1")

    with raw(drip) as url:
        answer = post(url, "{}", {})
    assert answer.error == "no answer within 0.6 seconds"


def test_one_who_sends_nonsense_or_hangs_up_is_a_failed_try() -> None:
    with raw(lambda client, over: client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as url:
        assert post(url, "{}", {}).error.startswith("no answer: ")
    with raw(lambda client, over: None) as url:
        assert post(url, "{}", {}).error.startswith("no answer: ")


def test_a_name_that_nobody_knows_is_a_failed_try(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(targets, "resolve", refuse)
    error = post("https://hooks.example.com/", "{}", {}).error
    assert error == "the host's name cannot be resolved"


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(targets, "resolve", lambda host, port: (over.wait(60) and []) or [])
    monkeypatch.setattr(sending, "CONNECT", 0.2)
    try:
        answer = post("https://hooks.example.com/", "{}", {})
    finally:
        over.set()
    assert (answer.status, answer.error) == (None, "no answer: TimeoutError")


@contextmanager
def secure(
    settings: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str
) -> Iterator[Receiver]:
    """A receiver behind TLS, under a name that leads to this machine."""
    authority, context = certify(folder, *names)
    settings.WEBHOOKS_CA_FILE = str(authority)
    monkeypatch.setattr(targets, "resolve", lambda host, port: ["127.0.0.1"])
    with listening(wrap=lambda sock: context.wrap_socket(sock, server_side=True)) as server:
        settings.WEBHOOKS_PORTS = {server.port}
        yield server


def test_a_certificate_must_be_the_names(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with secure(settings, monkeypatch, tmp_path, NAME) as server:
        answer = post(f"https://{NAME}:{server.port}/hook", "{}", {})
        assert (answer.status, answer.error) == (200, "")
        assert server.requests[0].headers["host"] == f"{NAME}:{server.port}"
        other = post(f"https://other.example.test:{server.port}/hook", "{}", {})
        assert other.error.startswith("certificate: ")
        assert len(server.requests) == 1


def test_a_certificate_must_be_from_an_authority_that_is_known(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with secure(settings, monkeypatch, tmp_path, NAME) as server:
        settings.WEBHOOKS_CA_FILE = ""
        answer = post(f"https://{NAME}:{server.port}/hook", "{}", {})
    assert answer.error.startswith("certificate: ")
    assert server.requests == []


def test_a_handshake_that_never_ends_is_left(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TOTAL", 0.5)
    monkeypatch.setattr(targets, "resolve", lambda host, port: ["127.0.0.1"])
    with raw(hang) as url:
        port = int(url.rsplit(":", 1)[1].strip("/"))
        settings.WEBHOOKS_PORTS = {port}
        answer = post(f"https://{NAME}:{port}/", "{}", {})
    assert answer.error == "no answer within 0.5 seconds"
