"""What serving costs and bears: overhead, throughput, overload, memory, killed members, start.

    python benchmarks/serving.py FOLDER [--only ready,overhead,...] [--texts FILE] [--output FILE]

FOLDER: what `ivme tune -o` or `ivme ensemble train -o` wrote. Parts, each on a server of its own:

ready       seconds from starting the process to a ready model (goal: 5 s)
overhead    a request over loopback less the predictor called directly, in turns (goal: 3 ms)
throughput  closed loop at saturation, against the predictor's own batch over the same texts (goal:
            90%), and against plain_server.py, Flask, a request at a time: the models as
            Transformers loads them (goal: 4 times), and the tuned ones: what serving adds; and
            where the processor's time went
overload    ten times the rate that saturates, for --overload-s, --rounds times (goals: 95% of the
            goodput at saturation just before and after, 99% of refusals within 20 ms, memory
            within 3%, no 5xx but 503)
soak        80% of that rate for --soak-s (goals: memory within 3%, nothing failed)
kills       --requests requests while processes are killed at random (goals: every answer true, no
            member missing at the end)

Load generator, server and models share this machine's cores. Answers are never taken from memory:
neither server nor predictor keeps any, and under load each text has a mark of its own, also in the
predictor's batch.
"""

import argparse
import http.client
import json
import os
import random
import secrets
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from served import PLAIN, Server, eventually, plain_server, server_of

from ivme.hardware.inventory import read_inventory
from ivme.models.corpus import corpus_documents
from ivme.serve.loadtest import LoadConfig, LoadResult, LoadSummary, run_load, summarize

PLAIN_CLIENTS = 8
MOST_GROWTH = 0.03  # of memory under load
MOST_REFUSAL_S = 0.020


def main() -> None:
    arguments = read_arguments()
    texts = read_texts(arguments)
    rows: list[dict[str, Any]] = []
    for name in arguments.only:
        row = {"part": name, **PARTS[name](arguments, texts)}
        rows.append(row)
        shown = {key: value for key, value in row.items() if not key.endswith("_samples_s")}
        print(json.dumps(shown, indent=1), flush=True)
    if arguments.output:
        machine = {"processor": read_inventory().processor.name, "cores": usable_cores()}
        content = {"command": sys.argv, "machine": machine, "rows": rows}
        arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--texts", type=Path, help="one text a line; the built-in corpus")
    parser.add_argument("--limit", type=int, default=200, help="texts")
    parser.add_argument("--words", type=int, help="cut or repeat texts to so many words")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--calls", type=int, default=200, help="of overhead, each way")
    parser.add_argument("--rounds", type=int, default=3, help="of throughput and overload")
    parser.add_argument("--round-s", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64, help="at saturation")
    parser.add_argument("--overload-s", type=float, default=60.0)
    parser.add_argument("--soak-s", type=float, default=600.0)
    parser.add_argument("--requests", type=int, default=2000, help="of kills")
    parser.add_argument("--kill-every", type=int, default=100, help="requests")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[], help="for `ivme serve`")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def read_texts(arguments: argparse.Namespace) -> list[str]:
    """Return distinct texts, of the length asked for."""
    if arguments.texts:
        texts = arguments.texts.read_text(encoding="utf-8").splitlines()
    else:
        texts = list(corpus_documents())
    texts = [text for text in texts if text.strip()][: arguments.limit]
    if arguments.words:
        words = " ".join(texts).split()
        size = arguments.words
        texts = [
            " ".join(words[(at * 7) % len(words) :][:size] or words[:size])
            for at in range(len(texts))
        ]
    return texts


def usable_cores() -> int:
    return read_inventory().processor.usable_cores


def ready(arguments: argparse.Namespace, texts: Sequence[str]) -> dict[str, Any]:
    seconds = []
    for _ in range(arguments.starts):
        start = time.perf_counter()
        with server_of(arguments):
            seconds.append(time.perf_counter() - start)
    return {
        "median_s": statistics.median(seconds),
        "slowest_s": max(seconds),
        "is_met": max(seconds) < 5.0,
        "start_samples_s": seconds,
    }


def overhead(arguments: argparse.Namespace, texts: Sequence[str]) -> dict[str, Any]:
    """Ask both for each text in turns: first one, then the other; both for the same text."""
    direct_s, served_s = [], []
    call, _ = open_direct(str(arguments.folder))
    with server_of(arguments) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        ways: list[tuple[Callable[[str], Any], list[float]]] = [
            (call, direct_s),
            (lambda text: server.ask(connection, text), served_s),
        ]
        for number in range(-10, arguments.calls):  # the first ones warm up
            text = texts[number % len(texts)]
            for way, seconds in ways if number % 2 else ways[::-1]:
                start = time.perf_counter()
                way(text)
                if number >= 0:
                    seconds.append(time.perf_counter() - start)
    added = statistics.median(
        served - direct for served, direct in zip(served_s, direct_s, strict=True)
    )
    return {
        "direct_median_ms": 1e3 * statistics.median(direct_s),
        "served_median_ms": 1e3 * statistics.median(served_s),
        "added_median_ms": 1e3 * added,
        "is_met": added < 0.003,
        "direct_samples_s": direct_s,
        "served_samples_s": served_s,
    }


def throughput(arguments: argparse.Namespace, texts: Sequence[str]) -> dict[str, Any]:
    """Take turns: the batch, the server at saturation, the batch, the plain servers.

    of_offline: the median of rounds, each against the batches around it; else medians of each.
    """
    _, batch = open_direct(str(arguments.folder))
    batch(texts[:4])

    def run_batch() -> None:
        marked = mark(texts)
        start, busy_s = time.perf_counter(), time.process_time()
        batch(marked)
        rounds["offline"].append(len(texts) / (time.perf_counter() - start))
        busy_s = time.process_time() - busy_s
        processor.setdefault("offline", []).append(1e3 * busy_s / len(texts))

    ratios: list[float] = []
    rounds: dict[str, list[float]] = {name: [] for name in ("offline", "served", *PLAIN)}
    processor: dict[str, list[float]] = {}  # ms a text
    with ExitStack() as servers:
        server = servers.enter_context(server_of(arguments))
        ports = {name: servers.enter_context(plain_server(arguments, name)) for name in PLAIN}
        for _ in range(arguments.rounds):
            run_batch()
            found, parts_ms = saturate_watched(arguments, texts, server)
            run_batch()
            rounds["served"].append(found.goodput_per_s)
            ratios.append(found.goodput_per_s / statistics.mean(rounds["offline"][-2:]))
            for name, one in parts_ms.items():
                processor.setdefault(name, []).append(one)
            for name, port in ports.items():
                found = saturate(arguments, texts, port, "/predict", PLAIN_CLIENTS)
                rounds[name].append(found.goodput_per_s)
    medians = {name: statistics.median(one) for name, one in rounds.items()}
    served = medians["served"]
    processor_ms = {name: statistics.median(one) for name, one in processor.items()}
    of_offline = statistics.median(ratios)
    generator_share = served * 1e-3 * processor_ms["generator"] / usable_cores()
    return {
        **{f"{name}_per_s": one for name, one in medians.items()},
        "of_offline": of_offline,
        "of_offline_range": [min(ratios), max(ratios)],
        "of_offline_without_generator": of_offline / (1 - generator_share),
        "processor_ms_per_text": processor_ms,
        "times_plain": served / medians["plain"],
        "times_plain_tuned": served / medians["plain_tuned"],
        "is_met": of_offline >= 0.9 and served >= 4 * medians["plain"],
        "rounds": rounds,
    }


def overload(arguments: argparse.Namespace, texts: Sequence[str]) -> dict[str, Any]:
    """Take turns: the peak, ten times of it, the peak again; each round against those around it."""
    with server_of(arguments) as server:
        peaks = [saturate(arguments, texts, server.port, server.path)]
        before = server.memory_bytes()
        rounds = []
        for _ in range(arguments.rounds):
            rate = 10 * peaks[-1].goodput_per_s
            rounds.append(overload_once(arguments, texts, server, rate))
            peaks.append(saturate(arguments, texts, server.port, server.path))
        growth = server.memory_bytes() / before - 1
    for at, one in enumerate(rounds):
        around = peaks[at : at + 2]
        peak = statistics.mean(found.goodput_per_s for found in around)
        left = statistics.mean(found.goodput_per_s / (1 - share_of(found)) for found in around)
        goodput = one["goodput_per_s"]
        one["of_peak"] = goodput / peak
        one["of_peak_without_generator"] = goodput / (1 - one["generator_share"]) / left
    names = ("of_peak", "of_peak_without_generator")
    medians = {name: statistics.median(one[name] for one in rounds) for name in names}
    return {
        "peaks_per_s": [found.goodput_per_s for found in peaks],
        "rounds": rounds,
        **medians,
        "memory_growth": growth,
        "is_met": medians["of_peak"] >= 0.95
        and growth <= MOST_GROWTH
        and all(one["slowest_refusal_s"] <= MOST_REFUSAL_S for one in rounds)
        and not any(one["failed"] or one["generator_invalid"] for one in rounds),
    }


def overload_once(
    arguments: argparse.Namespace, texts: Sequence[str], server: Server, rate_per_s: float
) -> dict[str, Any]:
    config = LoadConfig(
        url=f"http://127.0.0.1:{server.port}",
        path=server.path,
        rate_per_s=rate_per_s,
        duration_s=arguments.overload_s,
        distinct=True,
        timeout_s=60,
    )
    found = summarize(run_load(config, texts))
    refusal_s = {f"p{100 * one.fraction:g}": one.value for one in found.refusal.quantiles}
    return {
        "offered_per_s": found.offered_per_s,
        "goodput_per_s": found.goodput_per_s,
        "answered": found.answered,
        "refused": found.refused,
        "failed": found.failed,
        "refusal_ms": {name: 1e3 * one for name, one in refusal_s.items()},
        "slowest_refusal_s": refusal_s.get("p99", found.refusal.max_s or 0.0),
        "generator_share": share_of(found),
        "generator_invalid": found.invalid,
    }


def share_of(found: LoadSummary) -> float:
    """Return the share of this machine that generating a load took."""
    return found.busy_share / usable_cores()


def soak(arguments: argparse.Namespace, texts: Sequence[str]) -> dict[str, Any]:
    memory: list[int] = []
    with server_of(arguments) as server:
        peak = saturate(arguments, texts, server.port, server.path).goodput_per_s
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(arguments.soak_s / 60):
                memory.append(server.memory_bytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        config = LoadConfig(
            url=f"http://127.0.0.1:{server.port}",
            path=server.path,
            rate_per_s=0.8 * peak,
            duration_s=arguments.soak_s,
            distinct=True,
        )
        found = summarize(run_load(config, texts))
        ended.set()
        watcher.join()
    growth = memory[-1] / memory[len(memory) // 10] - 1
    return {
        "goodput_per_s": found.goodput_per_s,
        "failed": found.failed,
        "generator_invalid": found.invalid,
        "memory_bytes": memory,
        "memory_growth": growth,
        "is_met": growth <= MOST_GROWTH and not found.failed and found.invalid is None,
    }


def kills(arguments: argparse.Namespace, texts: Sequence[str]) -> dict[str, Any]:
    chance = random.Random(0)
    with server_of(arguments) as server:
        first = http.client.HTTPConnection("127.0.0.1", server.port)
        expected = {text: server.ask(first, text) for text in texts[:50]}
        wrong, statuses, missing = [], {}, 0
        lock = threading.Lock()

        def ask(number: int) -> None:
            nonlocal missing
            if number % arguments.kill_every == arguments.kill_every // 2:
                children = server.children()
                if children:
                    os.kill(chance.choice(children), signal.SIGKILL)
            text = texts[number % len(expected)]
            status, answer = server.ask_raw(text)
            with lock:
                statuses[status] = statuses.get(status, 0) + 1
                if status == 200:
                    missing += len(answer["individual_results"]) < len(
                        expected[text]["individual_results"]
                    )
                    if not is_true(answer, expected[text]):
                        wrong.append(answer)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(ask, range(arguments.requests)))
        is_whole = eventually(lambda: not server.get("/health")["members_down"])
    return {
        "requests": arguments.requests,
        "statuses": statuses,
        "answers_without_all_members": missing,
        "wrong": len(wrong),
        "is_whole_at_the_end": is_whole,
        "is_met": not wrong and is_whole and set(statuses) <= {200, 503},
    }


def is_true(answer: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Return whether members say what they said undisturbed, and the counts are those of them."""
    members = answer["individual_results"]
    votes = [one["prediction"] for one in members.values()]
    whole = answer["ensemble"]
    return (
        whole["total_models"] == len(members)
        and whole["vote_count"] == votes.count(whole["prediction"])
        and all(
            abs(one["confidence"] - expected["individual_results"][name]["confidence"]) < 0.02
            for name, one in members.items()
        )
    )


def saturate(
    arguments: argparse.Namespace,
    texts: Sequence[str],
    port: int,
    path: str,
    clients: int | None = None,
) -> LoadSummary:
    """Return what so many clients get that each wait for their answer."""
    return summarize(run_clients(arguments, texts, port, path, clients))


def run_clients(
    arguments: argparse.Namespace,
    texts: Sequence[str],
    port: int,
    path: str,
    clients: int | None = None,
) -> LoadResult:
    """Return what became of the requests of so many clients, not yet summarized."""
    config = LoadConfig(
        url=f"http://127.0.0.1:{port}",
        path=path,
        concurrency=clients or arguments.clients,
        duration_s=arguments.round_s,
        distinct=True,
        timeout_s=120,
    )
    return run_load(config, texts)


def saturate_watched(
    arguments: argparse.Namespace, texts: Sequence[str], server: Server
) -> tuple[LoadSummary, dict[str, float]]:
    """Return what clients got, and the processor's milliseconds a text by part.

    What still ran when the time was up counts for the second alone; the summary is no part of it.
    """
    before_s, generator_s = server.processor_s(), time.process_time()
    result = run_clients(arguments, texts, server.port, server.path)
    spent_s = {"generator": time.process_time() - generator_s}
    for name, seconds in server.processor_s().items():
        spent_s[name] = seconds - before_s[name]
    answered = result.run.samples.outcomes.count("200")
    return summarize(result), {name: 1e3 * one / answered for name, one in spent_s.items()}


def mark(texts: Sequence[str]) -> list[str]:
    """Return the texts, marked as the load generator marks them."""
    token = secrets.token_hex(3)
    return [f"{text} ({token} {at})" for at, text in enumerate(texts)]


def open_direct(
    folder: str,
) -> tuple[Callable[[str], Any], Callable[[Sequence[str]], Any]]:
    """Return the predictor's call for one text and for many, in this process; no cache."""
    if (Path(folder) / "plan.json").is_file():
        from ivme.tune.plan import load_plan

        plan = load_plan(folder)
        return lambda text: plan(text).label, plan.batched(batch_size=64, max_batch_tokens=2048)
    from ivme.ensemble.predictor import Predictor

    predictor = Predictor.load(folder, cache_size=0)
    predictor.initialize()
    return predictor.predict_all, predictor.predict_batch


PARTS = {
    "ready": ready,
    "overhead": overhead,
    "throughput": throughput,
    "overload": overload,
    "soak": soak,
    "kills": kills,
}

if __name__ == "__main__":
    main()
