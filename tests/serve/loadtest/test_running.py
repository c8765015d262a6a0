"""Load tests of servers that answer, refuse, fall silent or die."""

import importlib.machinery
import os
import signal
import subprocess
import sys
import threading

import pytest

from ivme.errors import UsageError
from ivme.report.sections.load import load_tables
from ivme.serve import loadtest
from ivme.serve.loadtest import LoadConfig, compiled_generator, load_record_of, summarize
from ivme.serve.loadtest.compiled_generator import can_drive
from ivme.serve.loadtest.target import find_target

TEXTS = [f"text number {number} with a few words" for number in range(20)]


@pytest.fixture
def load(run_load):
    """Return a function that runs a short load test of a URL, with settings."""

    def run(url, texts=TEXTS, tell=lambda progress: None, **settings):
        settings = {"rate_per_s": 100.0, "duration_s": 0.5, "warm_up_s": 0.1, **settings}
        if "concurrency" in settings:
            del settings["rate_per_s"]
        return run_load(LoadConfig(url=url, **settings), texts, tell=tell)

    return run


def test_every_request_of_the_schedule_is_answered_over_few_connections(serve, load):
    result = load(serve("plain").url)
    summary = summarize(result)
    assert (summary.requests, summary.answered, summary.failed) == (50, 50, {})
    assert summary.latency.count == 50
    assert summary.connections < 50
    assert summary.offered_per_s == pytest.approx(100)
    assert result.is_complete


def test_waiting_clients_use_a_connection_each(serve, load):
    summary = summarize(load(serve("plain").url, concurrency=3))
    assert summary.connections == 3
    assert summary.answered == summary.requests > 50
    assert summary.slip.max_s == 0


@pytest.mark.parametrize("mode", ["chunked", "closing"])
def test_answers_in_chunks_and_until_the_end_are_whole(serve, load, mode):
    summary = summarize(load(serve(mode).url))
    assert (summary.answered, summary.failed) == (50, {})


def test_refusals_are_no_failures_and_have_times_of_their_own(serve, load):
    summary = summarize(load(serve("refusing").url))
    assert summary.refused + summary.answered == 50
    assert summary.refused == summary.refusal.count > 10
    assert summary.latency.count == summary.answered
    assert summary.goodput_per_s < summary.throughput_per_s
    assert any(note.startswith('first 429: "{"error": "full"') for note in summary.notes)


def test_with_all_connections_in_use_requests_wait_and_their_wait_counts(serve, load):
    summary = summarize(load(serve("slow", 0.1).url, max_connections=2))
    assert summary.connections == 2
    assert summary.waited > 0
    # 60 requests, 2 at a time, 0.1 s each, due within 0.6 s: the last waits for over 2 s
    assert summary.latency.max_s > 2
    assert any("all 2 connections were in use" in note for note in summary.notes)


def test_late_answers_are_no_goodput(serve, load):
    summary = summarize(load(serve("slow", 0.1).url, good_within_s=0.05))
    assert summary.answered == 50
    assert summary.goodput_per_s == 0


def test_a_silent_server_times_out_and_the_wait_counts(serve, load):
    summary = summarize(load(serve("silent").url, timeout_s=0.3))
    assert summary.failed == {"timed out": 50}
    assert summary.latency.quantiles[0].value >= 0.3
    assert any("given up after 0.3 s" in note for note in summary.notes)


def test_a_server_that_hangs_up_is_told_from_one_that_answers(serve, load):
    summary = summarize(load(serve("hanging_up").url))
    assert set(summary.failed) <= {"closed without an answer", "connection reset"}
    assert sum(summary.failed.values()) > 10
    assert summary.answered > 10


def test_what_is_no_http_is_named_so(serve, load):
    summary = summarize(load(serve("garbage").url))
    assert summary.failed == {"not HTTP/1.1": 50}
    assert not any("connection to the server failed" in note for note in summary.notes)


def test_a_server_that_dies_midway_leaves_what_it_answered(serve, load):
    server = serve("plain")

    def kill(progress):
        server.process.kill()
        server.process.wait()

    result = load(server.url, tell=kill, duration_s=1.0)
    summary = summarize(result)
    assert result.is_complete
    assert 20 < summary.answered < 100
    assert summary.failed["connection refused"] > 0
    assert any("none was answered after that" in note for note in summary.notes)


def test_an_interrupt_ends_the_run_with_what_there_is(serve, load):
    result = load(
        serve("plain").url,
        tell=lambda progress: os.kill(os.getpid(), signal.SIGINT),
        duration_s=60.0,
    )
    summary = summarize(result)
    assert not result.is_complete
    assert 0.1 < summary.counted_s < 30
    assert summary.answered > 10


def test_it_runs_in_other_threads_too(serve, load):
    found = []
    url = serve("plain").url
    thread = threading.Thread(target=lambda: found.append(summarize(load(url)).answered))
    thread.start()
    thread.join()
    assert found == [50]


def test_texts_that_repeat_are_told_unless_numbered(serve, load):
    url = serve("plain").url
    notes = summarize(load(url)).notes
    assert notes == (
        "20 texts were sent 3.0 times each: a server that keeps answers gave some from its "
        "cache; --distinct makes them differ",
    )
    assert summarize(load(url, distinct=True)).notes == ()


def test_no_two_requests_of_any_run_are_alike_if_they_are_to_differ(serve, load):
    url = serve("remembering").url
    for _ in range(2):
        summary = summarize(load(url, distinct=True))
        assert (summary.answered, summary.failed) == (50, {})
    load(url)
    assert summarize(load(url)).failed == {"409": 50}


def test_a_port_where_nobody_listens_is_an_error_before_the_load(serve, load):
    server = serve("plain")
    server.stop()
    with pytest.raises(UsageError, match=r"no server answers at .* \(connection refused\); start"):
        load(server.url)


def test_a_route_that_is_not_there_is_an_error_before_the_load(serve, load):
    server = serve("not_found")
    with pytest.raises(UsageError, match=r"POST /predict at .* answered by 404: .* --path"):
        load(server.url)


@pytest.mark.skipif(sys.platform != "linux", reason="compiled on Linux alone")
def test_load_comes_from_the_compiled_generator_unless_it_cannot():
    assert can_drive(find_target("http://127.0.0.1:8000", allow_remote=False))
    assert not can_drive(find_target("https://127.0.0.1:8000", allow_remote=False))


def test_which_generator_sent_the_load_is_kept_and_shown(serve, run_load):
    asked_for_python = run_load.keywords["in_python"]
    config = LoadConfig(url=serve("plain").url, rate_per_s=20, duration_s=0.2, warm_up_s=0)
    result = run_load(config, TEXTS)
    assert result.generator == ("python" if asked_for_python else "compiled")
    [measurement] = load_record_of(result, command=("ivme",)).measurements
    load = measurement.facts["load"]
    assert load["generator"] == result.generator
    rates = load_tables(load)[-1]
    sent_by = rates.rows[0][rates.columns.index("Sent by")]
    assert sent_by == ("Python" if asked_for_python else "C++")
    del load["generator"]  # as in records of before
    assert "Sent by" not in load_tables(load)[-1].columns


@pytest.fixture
def driver_folder(tmp_path, monkeypatch):
    """Return where the compiled generator is looked for, and found nowhere else."""
    monkeypatch.setattr(sys, "meta_path", [importlib.machinery.PathFinder])
    monkeypatch.setattr(loadtest, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, compiled_generator._DRIVER, raising=False)
    compiled_generator._driver_class.cache_clear()
    yield tmp_path
    compiled_generator._driver_class.cache_clear()


def test_without_the_compiled_generator_python_sends_the_load(serve, driver_folder):
    config = LoadConfig(url=serve("plain").url, rate_per_s=20, duration_s=0.2, warm_up_s=0)
    assert loadtest.run_load(config, TEXTS).generator == "python"


def test_a_compiled_generator_that_is_broken_is_no_reason_to_take_another(serve, driver_folder):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (driver_folder / f"_driver{suffix}").write_bytes(b"no library")
    config = LoadConfig(url=serve("plain").url, rate_per_s=20, duration_s=0.2, warm_up_s=0)
    with pytest.raises(ImportError, match="_driver"):
        loadtest.run_load(config, TEXTS)


LIMITED = """
import resource, sys
from ivme.errors import UsageError
from ivme.serve.loadtest import LoadConfig, run_load, summarize

url, hard, *asked = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, int(hard)))
settings = {"max_connections": int(asked[0])} if asked else {}
config = LoadConfig(url=url, rate_per_s=20, duration_s=0.2, warm_up_s=0, distinct=True, **settings)
try:
    result = run_load(config, ["a text"])
    print(result.config.max_connections, *summarize(result).notes)
except UsageError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    ("hard", "asked", "expected"),
    [
        (1064, (), "1000"),
        (264, ("200",), "200"),
        (
            264,
            (),
            "200 at most 200 connections were opened instead of 1,000, for this process may open "
            "264 files; `ulimit -n 1064` raises that",
        ),
        (
            264,
            ("500",),
            "refused: max_connections=500; this process may open 264 files, enough for 200 "
            "connections: raise that with `ulimit -n 564`, or ask for fewer",
        ),
    ],
)
def test_connections_beyond_the_limit_on_open_files_are_told(serve, hard, asked, expected):
    command = [sys.executable, "-c", LIMITED, serve("plain").url, str(hard), *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == expected


def test_no_texts_are_an_error(load):
    with pytest.raises(UsageError, match="there are no texts to send"):
        load("http://127.0.0.1:1", texts=[])


def test_texts_larger_than_what_the_kernel_takes_at_once_arrive_whole(serve, load):
    texts = [f"{number} " + "word " * 1_000_000 for number in range(2)]
    summary = summarize(load(serve("echo").url, texts=texts, rate_per_s=10.0, duration_s=0.3))
    assert (summary.requests, summary.answered, summary.failed) == (3, 3, {})


def test_the_moments_of_a_request_follow_each_other(serve, load):
    samples = load(serve("plain").url).run.samples
    for due_s, begun_s, sent_s, ended_s in zip(
        samples.due_s, samples.begun_s, samples.sent_s, samples.ended_s, strict=True
    ):
        assert due_s <= begun_s <= sent_s <= ended_s


def test_what_is_told_meanwhile_adds_up(serve, load):
    looks = []
    result = load(serve("plain").url, tell=looks.append, duration_s=1.2)
    assert len(looks) >= 2
    for look in looks:
        assert look.begun == sum(look.ended.values()) + look.in_flight
    moments = [look.elapsed_s for look in looks]
    assert moments == sorted(moments)
    recent = [one for look in looks for one in look.recent_s]
    assert 0 < len(recent) <= len(result.run.samples.outcomes)


def test_an_error_of_what_is_told_ends_the_run(serve, load):
    def fail(progress):
        raise RuntimeError("no room left on the terminal")

    with pytest.raises(RuntimeError, match="no room left"):
        load(serve("plain").url, tell=fail, duration_s=30.0)


def test_requests_that_wait_while_the_server_dies_fail_one_by_one(serve, load):
    server = serve("silent")

    def kill(progress):
        server.process.kill()
        server.process.wait()

    settings = {"rate_per_s": 5_000.0, "max_connections": 1, "timeout_s": 20.0}
    summary = summarize(load(server.url, tell=kill, duration_s=1.0, **settings))
    assert summary.waited > 1000
    assert summary.failed["connection refused"] > 1000
    assert summary.unfinished == 0
