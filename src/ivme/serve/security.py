"""Keys and headers: who may ask, and what browsers may do with the answers."""

import hmac
from collections.abc import Mapping
from hashlib import sha256

OPEN_PATHS = ("/", "/health", "/ready", "/v1/info", "/openapi.json", "/favicon.ico")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"cache-control", b"no-store"),
)


def is_open(path: str, method: str) -> bool:
    """Return whether a request needs no key: probes, the page's own files, preflights.

    What the page must know before it can ask for a key is open as well, and so is the description
    of the routes that it links to: neither holds texts.
    """
    return path in OPEN_PATHS or path.startswith("/page/") or method == "OPTIONS"


def key_matches(headers: Mapping[bytes, bytes], key: str | None) -> bool:
    """Return whether the request brings the key; in a time that tells nothing of it."""
    if key is None:
        return True
    given = headers.get(b"x-api-key", b"")
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        given = credentials.strip()
    return hmac.compare_digest(sha256(given).digest(), sha256(key.encode()).digest())
