"""A real `ivme serve` in a process of its own, and a client for it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ivme.serve.supervision import MEMBER_PROCESS

DEADLINE_S = 60.0
COMMAND = "import sys; from ivme.cli.main import main; sys.argv[0] = 'ivme'; main()"


def _command_line(process: int) -> str:
    """Return the words of a process; none of one that has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


class Server:
    """A server that was started, its address, and what it has said."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        while_starting: Callable[["Server"], None] = lambda server: None,
    ) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "serve", str(folder), "--port", "0", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        while_starting(self)
        self.url = wait_for(self._find_url, self.said)
        self.client = httpx.Client(base_url=self.url, timeout=DEADLINE_S)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def wait_until_ready(self) -> "Server":
        """Wait until it says that it is."""
        wait_for(lambda: self.client.get("/ready").status_code == 200, self.said)
        return self

    def children(self) -> list[int]:
        """Return the processes that hold its models.

        One that is only being forked is left out: stopped there, it would hold up the server.
        """
        listed = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        numbers = [int(number) for path in listed for number in path.read_text().split()]
        return [number for number in numbers if MEMBER_PROCESS in _command_line(number)]

    def metric(self, name: str) -> float:
        """Return the value of one line of /metrics."""
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name}")

    def stop(self) -> int:
        """Ask it to stop; return its exit status."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            assert self.process.stderr is not None
            self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def _find_url(self) -> str | None:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended: {self.said()}")
        found = [line.rpartition(" on ")[2].strip() for line in self.lines if "serving " in line]
        return found[0] if found else None

    def said(self) -> str:
        """Return everything on its standard error until now."""
        return "".join(self.lines)


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Server]:
    """Run a server of the folder until the block ends."""
    server = Server(folder, *arguments)
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


def wait_for(condition: Callable[[], Any], explain: Callable[[], str] = lambda: "") -> Any:
    """Return what the condition returns once that is true; fail after a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {DEADLINE_S} s: {explain()}")
