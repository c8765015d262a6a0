import json
import subprocess
import sys
from pathlib import Path

import pytest

MOCK_SERVER = Path(__file__).parents[1] / "serve" / "loadtest" / "mock_server.py"


@pytest.fixture(scope="module")
def url():
    command = [sys.executable, str(MOCK_SERVER), "plain"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text number {number}\n" for number in range(200)), "utf-8")
    return path


def test_a_load_is_printed_and_kept_and_reported(ivme, url, texts, tmp_path):
    record = tmp_path / "load.json"
    outcome = ivme(
        *("loadtest", url, "--texts", texts, "--rate", 50, "--duration", 3, "--warm-up", 0.1),
        *("--api-key", "secret-key", "-o", record),
    )
    assert "100% of 150 requests answered" in outcome.stdout.replace("\n", " ")
    assert "Latency, from the moment when each request was due" in outcome.stdout
    assert "answered (2xx)" in outcome.stdout
    assert "Sent by" in outcome.stdout
    content = json.loads(record.read_text())
    (measurement,) = content["measurements"]
    counted = [one for one in measurement["samples_s"]["due"] if one >= 0]
    assert len(counted) == 150
    assert content["kind"] == "loadtest"
    assert "secret-key" not in record.read_text()
    assert content["command"][-3:] == ["***", "-o", str(record)]

    page = tmp_path / "load.html"
    ivme_report = ivme("report", record, "-o", page)
    assert ivme_report.status == 0
    for heading in ("Under load", "Slow answers", "Latency over the run", "What became of requ"):
        assert heading in page.read_text()


def test_json_prints_the_record_alone(ivme, url, texts):
    outcome = ivme(
        *("loadtest", url, "--texts", texts, "--concurrency", 2, "--duration", 0.3),
        *("--warm-up", 0, "--json"),
    )
    load = json.loads(outcome.stdout)["measurements"][0]["facts"]["load"]
    assert load["answered"] == load["requests"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", 0], "rate_per_s=0; expected a number above 0"),
        ([], "neither of rate and concurrency given; give --rate R"),
        (["--rate", 1, "--concurrency", 1], "both of rate and concurrency given"),
        (["--rate", 1, "--schedule", "even"], "schedule='even'; expected one of constant, poisson"),
        (["--rate", 1, "--path", "/a b"], "path='/a b'; expected a route"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(ivme, url, texts, arguments, message):
    outcome = ivme("loadtest", url, "--texts", texts, *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_another_machine_is_refused_with_what_the_switch_is_for(ivme, texts):
    outcome = ivme("loadtest", "http://192.0.2.1", "--texts", texts, "--rate", 1)
    assert outcome.status == 2
    assert "if this one is yours to load, add --allow-remote" in outcome.stderr


def test_a_file_that_is_not_utf_8_is_refused_before_the_load(ivme, url, tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("d\xe9j\xe0 vu\n".encode("latin-1"))
    outcome = ivme("loadtest", url, "--texts", path, "--rate", 1)
    assert outcome.status == 2
    assert "latin.txt is not UTF-8 text (byte 1); convert it" in outcome.stderr


def test_a_server_that_is_not_there_is_named(ivme, texts):
    outcome = ivme("loadtest", "http://127.0.0.1:9", "--texts", texts, "--rate", 1)
    assert outcome.status == 2
    assert "no server answers at http://127.0.0.1:9 (connection refused)" in outcome.stderr
