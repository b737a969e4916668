"""One request to somebody else's server, which may be slow, hostile or down.

The address is looked at here and the connection made to it, whatever the name says by then. No
redirect is followed, no proxy of the environment is used, and nothing takes longer than its limit:
a watchdog shuts the connection when the whole has taken too long, however busy it looks.
"""

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPException
from typing import Any

from django.conf import settings
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from organizations.webhooks.exceptions import TargetRefused
from organizations.webhooks.networks import Address
from organizations.webhooks.targets import Target, find_addresses, read_target

CONNECT = 5.0
"""Seconds for the name, and again for a connection."""

READ = 10.0
"""Seconds between two pieces of an answer."""

TOTAL = 15.0
"""Seconds for everything."""

KEPT = 1024
"""Bytes of an answer's body that are read and kept; whatever follows is not read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status, or an error in its place."""

    status: int | None = None
    body: str = ""
    error: str = ""
    milliseconds: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def post(url: str, payload: str, headers: Mapping[str, str]) -> Answer:
    """Send a request and return what came of it. Never raises what the other side can cause."""
    started = time.monotonic()

    def spent() -> int:
        return int((time.monotonic() - started) * 1000)

    try:
        target = read_target(url)
        addresses = find_addresses(target, patience=CONNECT)
        status, body, received = _exchange(
            target, addresses, payload, headers, until=started + TOTAL
        )
    except TargetRefused as refused:
        return Answer(error=f"not sent: {refused.reason}", milliseconds=spent())
    except ssl.SSLCertVerificationError as error:
        return Answer(error=f"certificate: {error.verify_message}"[:200], milliseconds=spent())
    except (OSError, HTTPError, HTTPException, ValueError) as error:
        late = time.monotonic() - started >= TOTAL
        return Answer(error=_tell(error, late=late), milliseconds=spent())
    return Answer(status, body, "", spent(), received)


def _exchange(
    target: Target,
    addresses: list[Address],
    payload: str,
    headers: Mapping[str, str],
    *,
    until: float,
) -> tuple[int, str, dict[str, str]]:
    sock = _connect(target, addresses, until)
    # A second handle on the connection: TLS takes the first one away.
    handle = sock.dup()
    connection = _wrap(target, sock)
    # Closing would wait for a read in another thread; a shutdown ends it.
    watchdog = threading.Timer(max(until - time.monotonic(), 0.0), _shut, args=[handle])
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request(
            "POST",
            target.path,
            body=payload.encode(),
            headers={"Host": target.authority, "Connection": "close", **headers},
            preload_content=False,
            decode_content=False,
            enforce_content_length=False,
        )
        response = connection.getresponse()
        body = response.read(KEPT, decode_content=False)[:KEPT]
        if time.monotonic() >= until:
            # What the watchdog cut off looks whole from here.
            raise TimeoutError
        received = {name.lower(): value[:200] for name, value in response.headers.items()}
        # PostgreSQL's text holds no NUL.
        return response.status, body.decode(errors="replace").replace("\0", "\ufffd"), received
    finally:
        watchdog.cancel()
        connection.close()
        _shut(handle)
        handle.close()
        sock.close()


def _connect(target: Target, addresses: list[Address], until: float) -> socket.socket:
    """Return a connection to the first address that answers. Nothing is resolved here."""
    failure: OSError = OSError("the host has no address")
    for address in addresses[:4]:
        patience = min(CONNECT, until - time.monotonic())
        if patience <= 0:
            break
        try:
            return connect((str(address), target.port), patience)
        except OSError as error:
            failure = error
    raise failure


def connect(address: tuple[str, int], patience: float) -> socket.socket:
    """Open a connection to an address, given as numbers. Asks no resolver anything."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(patience)
        sock.connect(address)
        sock.settimeout(READ)
    except BaseException:
        sock.close()
        raise
    return sock


class _Made:
    """A connection of urllib3's over a socket that has been made already."""

    made: socket.socket

    def _new_conn(self) -> socket.socket:
        return self.made


class MadeHTTP(_Made, HTTPConnection):
    pass


class MadeHTTPS(_Made, HTTPSConnection):
    pass


def _wrap(target: Target, sock: socket.socket) -> Any:
    if target.scheme == "http":
        plain = MadeHTTP(target.host, target.port, timeout=READ)
        plain.made = sock
        return plain
    # The certificate must be the name's, whatever address it was found at.
    secure = MadeHTTPS(
        target.host,
        target.port,
        timeout=READ,
        ssl_context=_context(settings.WEBHOOKS_CA_FILE),
        server_hostname=target.host,
    )
    secure.made = sock
    return secure


@lru_cache(maxsize=4)
def _context(authorities: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _tell(error: Exception, *, late: bool) -> str:
    """Return an error in words of ours: a library's may quote the address."""
    if late:
        return f"no answer within {TOTAL:g} seconds"
    if "timed out" in str(error):
        return "timed out"
    if isinstance(error, socket.gaierror):
        return "the host's name cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'failed'}"[:200]
    return f"no answer: {type(error).__name__}"
