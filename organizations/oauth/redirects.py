"""Where an authorization code may be sent."""

from urllib.parse import urlsplit

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
LONGEST = 2000


def is_allowed(uri: str) -> bool:
    """Whether an address may be registered: https, or http on the same machine (RFC 8252, section
    7.3), spelled out in full."""
    if not uri.isascii() or not uri.isprintable() or len(uri) > LONGEST or set(uri) & set(" #*\\"):
        return False
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return False
    if not parts.hostname or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def origin_of(uri: str) -> str:
    """Return the origin of an allowed address, as a Content-Security-Policy names it."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"
