"""No request ever goes inside: not by a URL's text, not by a name's addresses, not by an answer.

The proof is that no connection is attempted: every test counts those of the sockets' ``connect``
and what reaches a listening socket, and the same count shows the one that is allowed.
"""

import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Any

import pytest

from organizations.webhooks import targets
from organizations.webhooks.exceptions import TargetRefused
from organizations.webhooks.networks import is_public
from organizations.webhooks.sending import post
from organizations.webhooks.targets import read_target
from tests.webhooks.receiver import Receiver, listening

LITERALS = [
    # IPv4, in its one canonical spelling.
    "https://127.0.0.1/",
    "https://127.1.2.3/",
    "https://0.0.0.0/",
    "https://0.1.2.3/",
    "https://10.0.0.1/",
    "https://100.64.0.1/",
    "https://100.100.100.200/latest/meta-data/",
    "https://169.254.169.254/latest/meta-data/",
    "https://168.63.129.16/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.0.0.1/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://192.168.1.1/",
    "https://198.18.0.1/",
    "https://198.19.255.255/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://239.255.255.250/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    # And in the spellings that some parsers take for the same.
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.0.0.01/",
    "https://127.0.0.1./",
    "https://0/",
    "https://127.0.0.0x1/",
    "https://%31%32%37.0.0.1/",
    "https://127%2e0.0.1/",
    "https://\uff11\uff12\uff17.0.0.1/",
    "https://127\u30020\u30020\u30021/",
    "https://\u2460\u2461\u2466.0.0.1/",
    # IPv6.
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:0:127.0.0.1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::169.254.169.254]/",
    "https://[64:ff9b:1::a00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::1]/",
    "https://[2001:0:7f00:1::]/",
    "https://[2001:10::1]/",
    "https://[2001:20::1]/",
    "https://[2001:2::1]/",
    "https://[2001:db8::1]/",
    "https://[3fff::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%25lo]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[ff0e::1]/",
    "https://[100::1]/",
    "https://[5f00::1]/",
    "https://[4000::1]/",
    "https://[v1.fe80::1]/",
    # Names that lead inside, and URLs that parsers read in two ways.
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://a.localhost/",
    "https://db/",
    "https://metadata.google.internal/",
    "https://printer.local/",
    "https://router.home.arpa/",
    "https://1.0.0.127.in-addr.arpa/",
    "https://example.com@127.0.0.1/",
    "https://user:secret@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https://127.0.0.1\\.example.com/",
    "https://127.0.0.1#.example.com/",
    "https://127.0.0.1%00.example.com/",
    "https://127.0.0.1:443:80/",
    "https://exa mple.com/",
    "https://example.com\t.evil/",
    "https://example.com\r\nHost: inside/",
    "https:///etc/passwd",
    "https://",
    "https://:443/",
    "https://-a.example.com/",
    "https://a..example.com/",
    "https://xn--a.example.com/",
    "//127.0.0.1/",
    "http://example.com/",
    "http://127.0.0.1/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "unix:///var/run/docker.sock",
    # Ports of other services, at a host of the open Internet.
    "https://example.com:22/",
    "https://example.com:6379/",
    "https://example.com:0/",
    "https://example.com:99999/",
    "https://example.com:x/",
    "https://example.com:/",
]

INSIDE = [
    "127.0.0.1",
    "10.0.0.5",
    "100.64.0.1",
    "169.254.169.254",
    "172.20.0.1",
    "192.168.0.1",
    "198.18.0.1",
    "224.0.0.251",
    "255.255.255.255",
    "0.0.0.0",  # noqa: S104 - a target, not where to listen
    "::1",
    "::",
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:a00:1::",
    "2001:0:a00:1::",
    "fd00::1",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::fb",
    "100::1",
    "5f00::1",
    "2001:db8::1",
]

OUTSIDE = ["93.184.215.14", "1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001::1"]


@pytest.fixture(autouse=True)
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address that anything tries to connect to. None leaves this machine."""
    tried: list[Any] = []
    connect = socket.socket.connect

    def look(sock: socket.socket, address: Any) -> None:
        tried.append(address)
        if address[0] not in ("127.0.0.1", "::1"):
            raise ConnectionRefusedError
        connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", look)
    return tried


@pytest.fixture
def inner() -> Iterator[Receiver]:
    """A server inside, which nobody may reach."""
    with listening() as server:
        yield server


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: Sequence[str]) -> list[str]:
    """Have the resolver give one answer after the other, the last one for ever."""
    asked: list[str] = []

    def answer(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    monkeypatch.setattr(targets, "resolve", answer)
    return asked


def test_there_are_enough_of_them() -> None:
    assert len(set(LITERALS)) + len(set(INSIDE)) >= 120


@pytest.mark.parametrize("url", LITERALS)
def test_an_inward_url_is_refused_and_nothing_is_sent(url: str, attempts: list[Any]) -> None:
    with pytest.raises(TargetRefused):
        read_target(url)
    answer = post(url, "{}", {})
    assert answer.status is None
    assert answer.error.startswith("not sent: ")
    assert attempts == []


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_leads_inside_sees_no_connection(
    address: str, attempts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, [address])
    assert post("https://hooks.example.com/", "{}", {}).error.startswith("not sent: ")
    # One address inside among others outside is enough.
    resolve_to(monkeypatch, [*OUTSIDE, address])
    assert post("https://hooks.example.com/", "{}", {}).error.startswith("not sent: ")
    assert attempts == []


@pytest.mark.parametrize("address", OUTSIDE)
def test_the_open_internet_is_reached_at_the_address_that_was_looked_at(
    address: str, attempts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_public(ip_address(address))
    asked = resolve_to(monkeypatch, [address])
    assert post("https://hooks.example.com/", "{}", {}).error == "the connection was refused"
    assert [(one[0], one[1]) for one in attempts] == [(address, 443)]
    assert asked == ["hooks.example.com"]


def test_a_name_that_changes_its_mind_changes_nothing(
    attempts: list[Any], monkeypatch: pytest.MonkeyPatch, inner: Receiver, settings: Any
) -> None:
    """Public at the first look, this machine at every later one."""
    asked = resolve_to(monkeypatch, ["1.1.1.1"], ["127.0.0.1"])

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a name was resolved once more")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    url = f"https://rebinding.example.com:{inner.port}/"
    settings.WEBHOOKS_PORTS = {inner.port}
    assert post(url, "{}", {}).error == "the connection was refused"
    assert asked == ["rebinding.example.com"]
    assert attempts == [("1.1.1.1", inner.port)]
    # The next message looks again, and sees where the name leads by now.
    assert post(url, "{}", {}).error.startswith("not sent: ")
    assert len(attempts) == 1
    assert inner.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_the_inside_is_not_followed(
    status: int, attempts: list[Any], receiver: Receiver, inner: Receiver
) -> None:
    receiver.answer = lambda request: (status, {"Location": inner.url}, b"over there")
    answer = post(receiver.url, "{}", {})
    assert (answer.status, answer.body, answer.is_success) == (status, "over there", False)
    assert attempts == [("127.0.0.1", receiver.port)]
    assert inner.requests == []


@pytest.mark.parametrize("header", ["Refresh", "Content-Location", "Link", "Alt-Svc"])
def test_nor_is_any_other_hint(header: str, receiver: Receiver, inner: Receiver) -> None:
    receiver.answer = lambda request: (200, {header: f"0; url={inner.url}"}, b"")
    assert post(receiver.url, "{}", {}).is_success
    assert inner.requests == []


def test_no_proxy_of_the_environment_is_used(
    receiver: Receiver, inner: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, inner.url)
    assert post(receiver.url, "{}", {}).status == 200
    assert inner.requests == []


def test_this_machine_is_a_target_only_by_its_own_setting(
    settings: Any, inner: Receiver, attempts: list[Any]
) -> None:
    assert post(inner.url, "{}", {}).error.startswith("not sent: ")
    assert attempts == []
    settings.WEBHOOKS_ALLOW_LOOPBACK = True
    assert post(inner.url, "{}", {}).status == 200
    # And nothing else that is inside, nor plain HTTP to the outside.
    for url in ("https://10.0.0.1/", "https://[::ffff:127.0.0.1]/", "http://1.1.1.1/"):
        assert post(url, "{}", {}).error.startswith("not sent: ")
    assert len(attempts) == 1


def test_networks_of_ones_own_are_inside_too(settings: Any) -> None:
    settings.WEBHOOKS_FORBIDDEN_NETWORKS = ["1.1.1.0/24", "2606:4700::/32"]
    for url in ("https://1.1.1.1/", "https://[2606:4700:4700::1111]/"):
        with pytest.raises(TargetRefused):
            read_target(url)
    assert read_target("https://8.8.8.8/").host == "8.8.8.8"


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://hooks.example.com", "hooks.example.com", 443, "/"),
        ("https://Hooks.Example.com:8443/a?b=c", "hooks.example.com", 8443, "/a?b=c"),
        ("https://b\u00fccher.example/", "xn--bcher-kva.example", 443, "/"),
        ("https://[2606:4700:4700::1111]/", "2606:4700:4700::1111", 443, "/"),
    ],
)
def test_a_url_of_the_open_internet_is_taken(url: str, host: str, port: int, path: str) -> None:
    target = read_target(url)
    assert (target.host, target.port, target.path) == (host, port, path)


def test_the_proof_itself_sees_a_connection(
    attempts: list[Any], inner: Receiver, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Without the look at addresses, the very same request gets through to the inside."""
    resolve_to(monkeypatch, ["127.0.0.1"])
    monkeypatch.setattr(targets, "forbid_inner", lambda addresses: None)
    settings.WEBHOOKS_PORTS = {inner.port}
    post(f"https://hooks.example.com:{inner.port}/", "{}", {})
    assert attempts == [("127.0.0.1", inner.port)]
