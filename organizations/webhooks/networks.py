"""Which addresses belong to the open Internet. Everything else is inside, or leads there.

The list is our own: the standard library's ``is_global`` takes the NAT64 form of a private address
for a public one, and multicast, and changes its mind between versions of Python.
https://www.iana.org/assignments/iana-ipv4-special-registry
https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

INNER_V4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's own services, at a public address
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT relays
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]

UNICAST_V6 = IPv6Network("2000::/3")
"""All that has been given out. Outside of it lie loopback, mapped and compatible IPv4 addresses,
NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), discard (100::/64), SRv6 (5f00::/16), unique local, link-
and site-local addresses, and multicast."""

INNER_V6 = [
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the former 6bone
        "3fff::/20",  # documentation
    )
]


def is_public(address: Address) -> bool:
    """Whether an address is one of the open Internet's."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in INNER_V4)
    if address.scope_id is not None or address not in UNICAST_V6:
        return False
    return not any(address in network for network in INNER_V6)


def is_loopback(address: Address) -> bool:
    """Whether an address is this machine, spelled as such: not through a mapped form."""
    if isinstance(address, IPv6Address):
        return address == IPv6Address(1)
    return address in IPv4Network("127.0.0.0/8")


def is_among(address: Address, networks: Iterable[str]) -> bool:
    """Whether an address lies in one of some networks, written as texts."""
    return any(address in ip_network(text) for text in networks)


def read_address(text: str) -> Address | None:
    """Return an address spelled in the one canonical way, or None."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    is_plain = isinstance(found, IPv6Address) or str(found) == text
    return found if is_plain else None
