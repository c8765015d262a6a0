"""Servers that benchmarks ask: `ivme serve`, and the same models behind plain Flask."""

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

PLAIN_SERVER = Path(__file__).with_name("plain_server.py")
PLAIN = {"plain": ["--original"], "plain_tuned": []}  # its options, by the name in the record


class Server:
    """`ivme serve` in a process of its own, without its cache."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        command = [sys.executable, "-c", "from ivme.cli.main import main; main()", "serve"]
        options = ["--port", "0", "--cache-size", "0", *arguments.serve]
        self.process = subprocess.Popen(
            [*command, str(arguments.folder), *options], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        first = next(line for line in self.process.stderr if "http://" in line)
        self.port = int(first.rpartition(":")[2])
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        assert eventually(lambda: self.get("/ready").get("ready"))
        routes = self.get("/openapi.json")["paths"]
        self.path = next(one for one in ("/predict", "/v1/embed", "/v1/generate") if one in routes)

    def get(self, path: str) -> dict[str, Any]:
        """Return what a route says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())

    def ask(self, connection: http.client.HTTPConnection, text: str) -> Any:
        """Return the answer to a text over a connection that stays open."""
        connection.request("POST", self.path, json.dumps({"text": text}))
        answer = connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status == 200, content
        return content

    def ask_raw(self, text: str) -> tuple[int, Any]:
        """Return status and answer over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", self.path, json.dumps({"text": text}))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def children(self) -> list[int]:
        """Return the processes that hold models."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(number) for path in tasks for number in path.read_text().split()]

    def processor_s(self) -> dict[str, float]:
        """Return the processor's seconds that the server and each member have taken."""
        processes = {"server": self.process.pid}
        for child in self.children():
            words = Path(f"/proc/{child}/cmdline").read_text().rstrip("\0").split("\0")
            processes[words[-1]] = child
        times = {name: psutil.Process(one).cpu_times() for name, one in processes.items()}
        return {name: one.user + one.system for name, one in times.items()}

    def memory_bytes(self) -> int:
        """Return the resident memory of the server and its models."""
        total = 0
        for process in (self.process.pid, *self.children()):
            for line in Path(f"/proc/{process}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += 1024 * int(line.split()[1])
        return total


@contextmanager
def server_of(arguments: argparse.Namespace) -> Iterator[Server]:
    server = Server(arguments)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)


@contextmanager
def plain_server(arguments: argparse.Namespace, name: str) -> Iterator[int]:
    """Give the port of the folder's models behind a server that takes request after request."""
    process = subprocess.Popen(
        [sys.executable, PLAIN_SERVER, str(arguments.folder), *PLAIN[name]],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def eventually(condition: Callable[[], Any], within_s: float = 120.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False
