"""A small Stripe over real HTTP: subscriptions, customers, invoices and invoice items in memory,
idempotency as Stripe does it, and every way to fail that a test asks for."""

import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY = "sk_test_fake"

Answer = tuple[int, dict[str, Any]]


@dataclass
class Fault:
    """One failure of the next call of this method. ``after_effect``: the call did its work, and
    only the answer goes wrong."""

    method: str
    status: int = 500
    after_effect: bool = False
    resets: bool = False
    hangs: bool = False
    error: dict[str, Any] = field(default_factory=lambda: {"type": "api_error"})


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    key: str | None


class FakeStripe:
    """The account. Everything is a plain dict, as in the API's JSON."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self.cancels: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.released = threading.Event()
        self.objects: dict[str, dict[str, Any]] = {}
        self.saved: dict[str, tuple[Any, Answer]] = {}
        self.lock = threading.Lock()
        # Where calls that look at a subscription may meet, so that what follows happens at the
        # same moment; whoever comes alone goes on when the patience is over.
        self.meeting: threading.Barrier | None = None
        self.patience = 0.2
        self._numbers = count(1)

    def add_customer(self) -> str:
        return self._add("cus", object="customer")

    def add_subscription(self, customer: str = "", **fields: Any) -> str:
        """Add a subscription with a paid invoice; return its id."""
        customer = customer or self.add_customer()
        made = self._add(
            "sub",
            object="subscription",
            customer=customer,
            metadata={},
            pause_collection=None,
            **{"status": "active", **fields},
        )
        self._add("in", object="invoice", customer=customer, subscription=made, status="paid")
        return made

    def add_item(self, customer: str, **fields: Any) -> str:
        values = {"invoice": None, **fields}
        return self._add("ii", object="invoiceitem", customer=customer, **values)

    def invoices_of(self, subscription: str) -> list[dict[str, Any]]:
        return [
            one
            for one in self.objects.values()
            if one["object"] == "invoice" and one["subscription"] == subscription
        ]

    def writes(self) -> list[Call]:
        return [call for call in self.calls if call.method != "GET"]

    def forget_keys(self) -> None:
        """What Stripe does after a day."""
        self.saved.clear()

    def _add(self, prefix: str, **fields: Any) -> str:
        name = f"{prefix}_fake{next(self._numbers):06d}"
        self.objects[name] = {"id": name, **fields}
        return name

    # --- what the server does with a call -----------------------------------------------------

    def answer(self, method: str, path: str, form: dict[str, Any], key: str | None) -> Answer:
        """Do a call, or give again what was answered under its key. GET and DELETE know no key."""
        if method != "POST" or key is None:
            return self._do(method, path, form)
        if key in self.saved:
            request, saved = self.saved[key]
            if request != (path, form):
                return 400, {"error": {"type": "idempotency_error"}}
            return saved[0], {**saved[1], "_replayed": True}
        done = self._do(method, path, form)
        self.saved[key] = ((path, form), deepcopy(done))
        return done

    def save_failure(self, path: str, form: dict[str, Any], key: str, answer: Answer) -> None:
        self.saved[key] = ((path, form), answer)

    def _do(self, method: str, path: str, form: dict[str, Any]) -> Answer:
        parts = path.strip("/").split("/")[1:]
        if parts == ["invoiceitems"]:
            found = [
                one
                for one in self.objects.values()
                if one["object"] == "invoiceitem"
                and one["customer"] == form.get("customer")
                and (one["invoice"] is None or form.get("pending") != "true")
            ]
            return 200, {"object": "list", "data": found, "has_more": False, "url": path}
        if len(parts) != 2 or parts[1] not in self.objects:
            return 404, {"error": {"type": "invalid_request_error", "code": "resource_missing"}}
        kind, name = parts
        known = self.objects[name]
        if kind == "invoiceitems" and method == "DELETE":
            del self.objects[name]
            return 200, {"id": name, "object": "invoiceitem", "deleted": True}
        if kind == "subscriptions" and method == "DELETE":
            if known["status"] == "canceled":
                return 404, {"error": {"type": "invalid_request_error", "code": "resource_missing"}}
            known["status"] = "canceled"
            self.cancels[name] += 1
        elif kind == "subscriptions" and method == "POST":
            if known["status"] == "canceled":
                return 400, {"error": {"type": "invalid_request_error"}}
            self.changes[name] += 1
            _change(known, form)
        return 200, deepcopy(known)


def _change(known: dict[str, Any], form: dict[str, Any]) -> None:
    paused = {k[17:-1]: v for k, v in form.items() if k.startswith("pause_collection[")}
    if paused or form.get("pause_collection") == "":
        at = int(paused["resumes_at"]) if paused.get("resumes_at") else None
        known["pause_collection"] = {**paused, "resumes_at": at} if paused else None
    for name, value in form.items():
        if name.startswith("metadata["):
            if value:
                known["metadata"][name[9:-1]] = value
            else:
                known["metadata"].pop(name[9:-1], None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stripe: FakeStripe

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        form = dict(parse_qsl(url.query or body, keep_blank_values=True))
        key = self.headers.get("Idempotency-Key")
        fake = self.stripe
        with fake.lock:
            fake.calls.append(Call(self.command, url.path, key))
            fault = next((one for one in fake.faults if one.method == self.command), None)
            if fault:
                fake.faults.remove(fault)
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                return self._say((401, {"error": {"type": "invalid_request_error"}}))
            answer = None
            if fault is None or fault.after_effect:
                answer = fake.answer(self.command, url.path, form, key)
        if fault is not None:
            return self._fail(fault, url.path, form, key)
        assert answer is not None
        if fake.meeting and self.command == "GET" and "/subscriptions/" in url.path:
            # Each has seen what is there before any of them hears it.
            with suppress(threading.BrokenBarrierError):
                fake.meeting.wait(fake.patience)
        return self._say(answer)

    def _fail(self, fault: Fault, path: str, form: dict[str, Any], key: str | None) -> None:
        if fault.hangs:
            self.stripe.released.wait(60)
        if fault.hangs or fault.resets:
            # RST instead of an answer.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        answer = fault.status, {"error": fault.error}
        if fault.status >= 500 and self.command == "POST" and key and not fault.after_effect:
            # What began to be executed is remembered, failures included.
            self.stripe.save_failure(path, form, key, answer)
        self._say(answer)

    def _say(self, answer: Answer) -> None:
        status, content = answer[0], dict(answer[1])
        replayed = content.pop("_replayed", False)
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Request-Id", "req_fake")
        if replayed:
            self.send_header("Idempotent-Replayed", "true")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up waiting is part of the play."""


@contextmanager
def serve_stripe() -> Iterator[FakeStripe]:
    """Serve an account on a free port of this machine."""
    fake = FakeStripe()
    handler = type("Handler", (_Handler,), {"stripe": fake})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        fake.released.set()
        server.shutdown()
        server.server_close()
        thread.join(60)
