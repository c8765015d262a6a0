"""How many requests a second the load generators themselves can send, and how late they are.

    python benchmarks/loadtest_ceiling.py

The one in Python and the compiled one, in turns, against a server in another process that answers
every request with the same bytes. Processor time is the generator's own, of one request.
"""

import asyncio
import subprocess
import sys

from ivme.report.formatting import format_percent, format_seconds
from ivme.serve.loadtest import LoadConfig, LoadSummary, run_load, summarize

LOADS = (
    {"concurrency": 1},
    {"concurrency": 32},
    {"rate_per_s": 100.0},
    {"rate_per_s": 1000.0},
    {"rate_per_s": 5000.0},
    {"rate_per_s": 10_000.0},
    {"rate_per_s": 20_000.0},
)
TEXTS = ["a text of some length " * 20] * 100
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def main() -> None:
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        print(
            f"{'load':<22}{'generator':<10}{'requests/s':>11}{'p50':>10}{'p99':>10}{'slip p99':>10}"
            f"{'busy':>6}{'a request':>11}"
        )
        for load in LOADS:
            config = LoadConfig(url=url, duration_s=3, warm_up_s=0.5, **load)
            for name in ("Python", "C++"):
                found = summarize(run_load(config, TEXTS, in_python=name == "Python"))
                print(row(load, name, found), flush=True)
        server.kill()


def row(load: dict[str, float], generator: str, summary: LoadSummary) -> str:
    ((name, value),) = load.items()
    latency, slip = (
        {one.fraction: one.value for one in kind.quantiles}
        for kind in (summary.latency, summary.slip)
    )
    times = (latency[0.5], latency[0.99], slip[0.99])
    cells = "".join(f"{format_seconds(one):>10}" for one in times)
    label = f"{name.removesuffix('_per_s')} {value:,g}"
    busy = format_percent(summary.busy_share)
    each = format_seconds(summary.busy_share / summary.throughput_per_s)
    rate = f"{summary.goodput_per_s:>11,.0f}"
    return f"{label:<22}{generator:<10}{rate}{cells}{busy:>6}{each:>11}"


class Server(asyncio.Protocol):
    """Answers whatever ends a request."""

    def connection_made(self, transport):
        """Keep the way to write."""
        self.transport = transport

    def data_received(self, data):
        """Answer."""
        if data.endswith(b'"}'):
            self.transport.write(ANSWER)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        main()
