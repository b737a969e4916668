"""A receiver of webhooks: a small HTTP server that keeps what it is sent."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import standardwebhooks

Answering = Callable[["Request"], tuple[int, dict[str, str], bytes]]


class Request:
    """One request as it came in."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path, self.headers, self.body = path, headers, body

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> Any:
        import json

        return json.loads(self.body)

    def verify(self, secret: str) -> Any:
        """Check the signature as a receiver would; raises when it does not hold."""
        return standardwebhooks.Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """What a test sees of the server: where it is, what came, and how it is to answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/hook"
        self.requests: list[Request] = []
        self.answer: Answering = lambda request: (200, {}, b"ok")

    @property
    def types(self) -> list[str]:
        return [request.data["type"] for request in self.requests]


@contextmanager
def listening(server_type: Any = ThreadingHTTPServer, wrap: Any = None) -> Iterator[Receiver]:
    """Run a receiver on a free port of this machine."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, self.rfile.read(size))
            receiver.requests.append(request)
            status, extra, body = receiver.answer(request)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **extra}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

        def handle(self) -> None:
            # A client that hangs up is what some tests are about.
            try:
                super().handle()
            except OSError:
                self.close_connection = True

    server = server_type(("127.0.0.1", 0), Answers)
    if wrap is not None:
        server.socket = wrap(server.socket)
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
