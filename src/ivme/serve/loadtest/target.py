"""The target: where requests go, and whether they may."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from ivme.errors import UsageError

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server: its name in requests, and the addresses to connect to."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]  # numeric, in the order in which to try them

    @property
    def name(self) -> str:
        """Return the server as a URL."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Return the value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def find_target(url: str, *, allow_remote: bool) -> Target:
    """Return the server that a URL names; nothing is sent to it.

    Raises:
        UsageError: no URL of a server, an unknown host, or another machine without consent.
    """
    scheme, host, port = _split(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(
            f"{url}: no machine is known as {host!r} ({error.strerror}); check the name"
        ) from error
    addresses = tuple(dict.fromkeys(str(one[4][0]) for one in found))
    if not allow_remote and not all(map(_is_loopback, addresses)):
        raise UsageError(
            f"{url} is another machine; a load test can make a server useless to its users: "
            "if this one is yours to load, add --allow-remote"
        )
    return Target(scheme=scheme, host=host, port=port, addresses=addresses)


def _split(url: str) -> tuple[str, str, int]:
    example = "expected one such as http://127.0.0.1:8000"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL ({error}); {example}") from error
    if parts.scheme not in PORTS or not parts.hostname:
        raise UsageError(f"{url!r} is no URL of a server; {example}")
    if parts.username is not None or parts.password is not None:
        raise UsageError("the URL holds a user or password; give a key by --api-key instead")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"{url!r} holds more than a server; name the route by --path")
    return parts.scheme, parts.hostname, PORTS[parts.scheme] if port is None else port


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
