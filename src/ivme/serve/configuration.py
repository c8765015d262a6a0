"""What a server is told: where it listens, what it serves, and every bound it keeps."""

import math
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from ivme.errors import UsageError
from ivme.hardware.threads import check_threads

LEAST = {  # the least value that makes sense of each bound
    "workers": 1,
    "max_queue": 1,
    "timeout_s": 0.001,
    "max_characters": 1,
    "max_body_bytes": 256,
    "max_connections": 1,
    "cache_size": 0,
    "stop_timeout_s": 0,
}


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """A server's settings, all checked.

    max_queue: texts that may wait, and so the most that one request may bring. max_batch_tokens:
    tokens that run together, padding counted; None: what suits most models. timeout_s: for each
    request, from its first byte to its answer. cache_size: answers that are remembered; 0: none.
    stop_timeout_s: that accepted requests get to finish after SIGTERM.

    Raises:
        UsageError: a value that is not allowed.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1  # processes for each model
    threads: int | None = None  # of each copy; None: as a plan says, an ensemble's share of all
    device: str = "auto"  # of an ensemble; a plan names its own
    max_queue: int = 256
    max_batch_tokens: int | None = None
    timeout_s: float = 30.0
    max_characters: int = 100_000  # of a text
    max_body_bytes: int = 2 * 2**20
    max_connections: int = 1000
    api_key: str | None = field(default=None, repr=False)
    cors_origins: tuple[str, ...] = ()
    lazy: bool = False  # load at the first request
    log_texts: bool = False
    cache_size: int = 10_000
    stop_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name, least in LEAST.items():
            if not getattr(self, name) >= least:
                raise UsageError(f"{name}={getattr(self, name)}; expected {least} or more")
        if self.threads is not None:
            check_threads(self.threads)
        if self.max_batch_tokens is not None and self.max_batch_tokens < 1:
            raise UsageError(f"max_batch_tokens={self.max_batch_tokens}; expected 1 or more")
        for name in ("timeout_s", "stop_timeout_s"):
            if not math.isfinite(getattr(self, name)):
                raise UsageError(f"{name}={getattr(self, name)}; expected a finite number")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port={self.port}; expected 1 to 65535, or 0 for any free one")
        if self.api_key is not None and len(self.api_key) < 8:
            raise UsageError("the API key is too short; give one of 8 characters or more")

    @property
    def is_loopback(self) -> bool:
        """Whether nothing outside this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False
