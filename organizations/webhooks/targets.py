"""Where a webhook may go: which URLs are taken, and which of a name's addresses.

A URL is looked at when it is given, and its host's addresses each time something is sent: every
address that the name has at that moment must be one of the open Internet's, and the connection is
made to one of those that were looked at. So a name that changes its mind between the look and the
connection changes nothing.
"""

import re
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

import idna
from django.conf import settings

from organizations.webhooks.exceptions import TargetRefused
from organizations.webhooks.networks import (
    Address,
    is_among,
    is_loopback,
    is_public,
    read_address,
)

LONGEST = 2000
PORTS = {"https": 443, "http": 80}

NAMES_INSIDE = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "onion", "arpa")
"""Names, and ends of names, that never lead outside."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRINTABLE = re.compile(r"[!-~\u00a1-\U0010ffff]+")

Resolver = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart. ``host`` is ASCII; ``path`` holds the query, too."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def literal(self) -> Address | None:
        return read_address(self.host)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def read_target(url: str) -> Target:
    """Return where a URL leads. Raises TargetRefused for one that is no plain https URL, or that
    leads inside by its very text."""
    if len(url) > LONGEST:
        raise TargetRefused("It is too long.")
    # Whatever parsers disagree about: blanks, control characters, backslashes, two at-signs.
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise TargetRefused("It holds characters that a URL does not.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise TargetRefused("It is no URL.") from None
    scheme = parts.scheme
    if scheme != "https" and not (scheme == "http" and allows_loopback()):
        raise TargetRefused("It must begin with https://.")
    if "@" in parts.netloc:
        raise TargetRefused("It must not hold a name or a password.")
    if "#" in url:
        raise TargetRefused("It must not hold a fragment.")
    if not parts.hostname or parts.netloc.endswith(":"):
        raise TargetRefused("It names no host.")
    is_bracketed = parts.netloc.startswith("[")
    host = _read_v6(parts.hostname) if is_bracketed else _read_host(parts.hostname)
    target = Target(scheme, host, port if port is not None else PORTS[scheme], _path_of(parts))
    _forbid_port(target)
    literal = target.literal
    is_here = host == "localhost" or (literal is not None and is_loopback(literal))
    if scheme == "http" and not is_here:
        raise TargetRefused("It must begin with https://.")
    if literal is not None:
        forbid_inner([literal])
    return target


def find_addresses(target: Target, *, patience: float) -> list[Address]:
    """Return the addresses of a target's host, all of them looked at. Raises TargetRefused when any
    of them lies inside, and OSError when there are none or nobody answers in time."""
    if (literal := target.literal) is not None:
        found = [literal]
    else:
        asked = _resolvers.submit(resolve, target.host, target.port)
        try:
            texts = asked.result(timeout=patience)
        except TooLate:
            raise TimeoutError("the host's name was not resolved in time") from None
        found = [ip_address(text) for text in dict.fromkeys(texts)]
    if not found:
        raise OSError("the host has no address")
    forbid_inner(found)
    return found


def forbid_inner(addresses: Sequence[Address]) -> None:
    """Raise TargetRefused unless every address is one of the open Internet's."""
    for one in addresses:
        if is_loopback(one) and allows_loopback():
            continue
        if not is_public(one) or is_among(one, settings.WEBHOOKS_FORBIDDEN_NETWORKS):
            raise TargetRefused("Its host is not on the open Internet.")


def allows_loopback() -> bool:
    """Whether this machine itself may be a target, over plain HTTP too: for tests and the demo,
    never in production."""
    return bool(settings.WEBHOOKS_ALLOW_LOOPBACK)


def resolve(host: str, port: int) -> list[str]:
    """Return every address that the system's resolver gives for a name; OSError for none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _read_v6(text: str) -> str:
    # A zone, too, is refused here: which interface it names is this machine's affair.
    if "%" in text or ":" not in text or read_address(text) is None:
        raise TargetRefused("Its host is no address.")
    return str(ip_address(text))


def _read_host(text: str) -> str:
    """Return a name as DNS knows it, or an IPv4 address in its usual form. Anything that one parser
    takes for a name and another for an address is refused."""
    try:
        host = text if text.isascii() else idna.encode(text, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise TargetRefused("Its host is no name.") from None
    if host.startswith("xn--") or ".xn--" in host:
        try:
            idna.decode(host)
        except (idna.IDNAError, UnicodeError):
            raise TargetRefused("Its host is no name.") from None
    if read_address(host) is not None:
        return host
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise TargetRefused("Its host is no name.")
    if _NUMBER.fullmatch(labels[-1]):
        raise TargetRefused("Its host is an address in an unusual form.")
    is_inside = any(host == name or host.endswith(f".{name}") for name in NAMES_INSIDE)
    if host == "localhost" and allows_loopback():
        return host
    if is_inside or len(labels) < 2:
        raise TargetRefused("Its host is not on the open Internet.")
    return host


def _path_of(parts: SplitResult) -> str:
    path, query = parts.path or "/", parts.query
    if not (path + query).isascii():
        raise TargetRefused("Its path must be percent-encoded.")
    return f"{path}?{query}" if query else path


def _forbid_port(target: Target) -> None:
    if allows_loopback() and (target.literal is not None or target.host == "localhost"):
        return
    if target.port not in settings.WEBHOOKS_PORTS:
        ports = " or ".join(map(str, sorted(settings.WEBHOOKS_PORTS)))
        raise TargetRefused(f"Its port must be {ports}.")


# A lookup cannot be called off; it ends by the resolver's own limits.
_resolvers = ThreadPoolExecutor(max_workers=16, thread_name_prefix="webhook-names")
