import os
import re
import signal
import subprocess
import sys

import pytest

from ivme.bench import runs
from ivme.errors import RecordError
from ivme.measure import records
from ivme.measure.memory_guard import memory_guard
from ivme.measure.records import load_record

QUICK = ("--threads", 1, "--budget", 1e-3, "--compare-budget", 0.05)
START = "from ivme.cli.main import main; main()"
POINT = ("--batch-size", 1, "--tokens", 8)


def test_the_tables_fit_80_columns_with_nothing_cut(ivme):
    outcome = ivme(
        "bench",
        "preset:bert-tiny",
        *("--engine", "transformers,pipeline", "--dtype", "float32,bfloat16"),
        *("--batch-size", "1,2", "--tokens", "8,128"),
        *QUICK,
    )
    assert (outcome.status, outcome.stderr) == (0, "")
    assert max(map(len, outcome.stdout.splitlines())) <= 80
    assert "\x1b" not in outcome.stdout
    rows = [line.split() for line in outcome.stdout.splitlines() if "float" in line]
    assert len(rows) == 3 * 16
    for row in rows:
        assert row[0] in ("transformers", "pipeline")
        assert re.fullmatch(r"[\d.,]+%?", row[-1])
    for caption in ("The model", "Latency of a call", "Throughput", "Start and memory"):
        assert f"\n{caption}" in outcome.stdout


def test_json_is_the_record_alone(ivme, tmp_path):
    outcome = ivme("bench", "preset:bert-tiny", *POINT, *QUICK, "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    (tmp_path / "bench.json").write_text(outcome.stdout)
    record = load_record(tmp_path / "bench.json")
    assert [one.label for one in record.measurements] == ["batch 1 · 8 tokens"]
    assert record.command[:3] == ("ivme", "bench", "preset:bert-tiny")
    assert record.is_complete


def test_output_keeps_the_record_and_says_how_to_make_a_page_of_it(ivme, tmp_path):
    record, page = tmp_path / "new folder" / "bench.json", tmp_path / "page.html"
    outcome = ivme("bench", "preset:bert-tiny", *POINT, *QUICK, "-o", record)
    assert outcome.status == 0
    assert outcome.stdout.endswith(f"record: {record}\nnext:   ivme report {record}\n")
    outcome = ivme("report", record, "-o", page)
    assert (outcome.status, outcome.stdout) == (0, f"wrote {page}\n")
    assert "How fast preset:bert-tiny runs" in page.read_text()


def test_a_record_that_cannot_be_kept_is_printed_all_the_same(ivme, tmp_path, monkeypatch):
    def fail(record, path):
        raise RecordError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(records, "save_record", fail)
    outcome = ivme("bench", "preset:bert-tiny", *POINT, *QUICK, "-o", "bench.json")
    assert outcome.status == 2
    assert "Latency of a call" in outcome.stdout
    assert outcome.stderr == "ivme: cannot write bench.json: No space left on device\n"


def test_versus_says_what_the_paired_comparison_found(ivme):
    outcome = ivme("bench", "preset:bert-tiny", *POINT, *QUICK, "--versus", "pipeline")
    assert outcome.status == 0
    said = " ".join(outcome.stdout.split())
    assert re.search(r"transformers .* pipeline at batch 1 · 8 tokens.*verdict: ", said)
    assert re.search(r"Notes - .*device cpu: automatic", said)


def test_texts_of_a_file_are_taken_from_the_column_that_is_named(ivme, tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("id,review\n1,good\n2,bad\n3,neither good nor bad\n")
    outcome = ivme(
        *("bench", "preset:bert-tiny", "--texts", path, "--column", "review", "--limit", 2),
        *("--batch-size", 2, *QUICK, "--json", "-o", tmp_path / "bench.json"),
    )
    assert outcome.status == 0
    (one,) = load_record(tmp_path / "bench.json").measurements
    assert (one.label, one.items_per_call) == ("batch 2 · 2 texts", 2)


def test_running_out_of_memory_is_told_and_the_sweep_goes_on(ivme, monkeypatch):
    monkeypatch.setattr(runs, "memory_guard", lambda: memory_guard(48 * 2**20))
    outcome = ivme("bench", "preset:bert-tiny", "--batch-size", "256,1", "--tokens", 256, *QUICK)
    assert outcome.status == 0
    assert "batch 256 · 256 tokens: out of memory: " in outcome.stdout
    assert "Latency of a call" in outcome.stdout


def test_nothing_that_ran_is_a_failure(ivme):
    outcome = ivme("bench", "preset:t5-tiny", "--engine", "pipeline", "--batch-size", 1, *QUICK)
    assert outcome.status == 1
    assert "no pipeline for seq2seq" in outcome.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_ctrl_c_keeps_what_was_measured(tmp_path):
    import pty

    output = tmp_path / "bench.json"
    sizes = ",".join(map(str, range(1, 30)))
    ours, theirs = pty.openpty()
    command = f"bench preset:bert-tiny --batch-size {sizes} --tokens 8 --threads 1 --budget 1"
    process = subprocess.Popen(
        [sys.executable, "-c", START, *command.split(), "-o", str(output)],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    shown = b""
    while not re.search(rb"batch [2-9] ", shown):  # the first configuration is through
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate()
    os.close(ours)
    record = load_record(output)
    assert process.returncode == 1
    assert not record.is_complete
    assert 1 <= len(record.measurements) < 29
    assert record.measurements[0].label == "batch 1 · 8 tokens"
    assert "Interrupted: this is what was measured until then." in text
