import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from ivme.cli.report import report
from ivme.errors import RecordError, UsageError
from ivme.measure.records import Measurement, new_record, save_record


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs `ivme report` in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(report)

    def invoke(*arguments):
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    return invoke


@pytest.fixture
def record(tmp_path):
    measured = Measurement(
        label="batch 1 · 32 tokens",
        configuration={"model": "preset:bert-tiny", "batch_size": 1, "tokens": 32},
        samples_s={"latency": (0.01, 0.011, 0.0105, 0.0102, 0.03)},
        items_per_call=1,
    )
    path = tmp_path / "bench.json"
    save_record(new_record("bench", ["ivme", "bench"], {}, {}, measurements=[measured]), path)
    return path


def test_a_report_is_html_unless_told_otherwise(run, record, tmp_path):
    result = run(str(record))
    assert result.exit_code == 0
    assert result.stdout == "wrote report.html\n"
    assert "How fast preset:bert-tiny runs" in (tmp_path / "report.html").read_text()


def test_several_records_become_one_report(run, record, tmp_path):
    assert run(str(record), str(record), "-o", "both.json").exit_code == 0
    assert len(json.loads((tmp_path / "both.json").read_text())["records"]) == 2


def test_a_file_that_is_no_record_is_refused_on_one_line(run, tmp_path):
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(RecordError, match="no record of ivme") as caught:
        run("other.json")
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_a_wrong_suffix_is_refused_before_the_records_are_read(run):
    with pytest.raises(UsageError, match=r"expected one of \.html, \.md, \.json"):
        run("no-such-record.json", "-o", "report.docx")


def test_the_command_brings_no_heavy_library(run, record):
    code = (
        "import sys; from pathlib import Path; from ivme.cli.report import report; "
        f"report([Path({str(record)!r})], Path('report.html')); "
        "print(sorted({'torch', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
