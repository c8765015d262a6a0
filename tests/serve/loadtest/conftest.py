import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ivme.serve import loadtest
from ivme.serve.loadtest import LoadResult


class MockServer:
    """A running mock server."""

    def __init__(self, *arguments: str) -> None:
        script = Path(__file__).with_name("mock_server.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def stop(self) -> list[tuple[float, float]]:
        """End it, and return the begin and end of every stall; once."""
        if self.process.stdout is None or self.process.stdout.closed:
            return []
        self.process.kill()
        said, _ = self.process.communicate()
        stalls = [tuple(map(float, line.split())) for line in said.splitlines()]
        return [(begin, end) for begin, end in stalls]


@pytest.fixture
def serve() -> Iterator[Callable[..., MockServer]]:
    """Return a function that starts mock servers, which end with the test."""
    started: list[MockServer] = []

    def start(*arguments: object) -> MockServer:
        started.append(MockServer(*map(str, arguments)))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(params=["compiled", "python"])
def run_load(request) -> Callable[..., LoadResult]:
    """Return what runs a load test, with each generator in turn: they must find the same."""
    if request.param == "compiled" and sys.platform != "linux":
        pytest.skip("compiled on Linux alone")
    return partial(loadtest.run_load, in_python=request.param == "python")
