import json
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from ivme.cli.doctor import doctor
from ivme.hardware import ceilings_cache
from ivme.hardware.ceilings import CeilingPlan
from ivme.measure.records import load_record

TINY_PLAN = CeilingPlan(
    sizes=(16,), accelerator_sizes=(16,), product_budget_s=0.0, copy_budget_s=0.0
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs `ivme doctor` with tiny measurements in a cache of its own."""
    monkeypatch.setenv("IVME_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(ceilings_cache, "FULL_PLAN", replace(TINY_PLAN, name="full"))
    monkeypatch.setattr(ceilings_cache, "QUICK_PLAN", replace(TINY_PLAN, name="quick"))
    app = typer.Typer()
    app.command()(doctor)

    def invoke(*arguments):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return invoke


def test_the_report_fits_80_columns_without_color(run):
    text = run().stdout
    for heading in ("This machine", "Matrix products on cpu", "Copies", "Advice"):
        assert heading in text
    for library in ("torch", "onnxruntime", "openvino"):
        assert library in text
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_json_is_the_record_alone(run):
    record = json.loads(run("--json", "--quick").stdout)
    assert (record["kind"], record["schema"]) == ("doctor", "ivme.record")
    assert record["settings"]["quick"] is True
    assert record["machine"]["processor"]["usable_cores"] >= 1
    paths = {rate["path"] for rate in record["machine"]["ceilings"]["products"]}
    assert {"torch-fp32", "onnxruntime-fp32", "openvino-int8"} <= paths
    assert all(
        rate["samples"] or rate["unavailable"] for rate in record["machine"]["ceilings"]["products"]
    )


def test_output_writes_a_record_that_is_read_back(run, tmp_path):
    file = tmp_path / "machine.json"
    text = run("--output", str(file)).stdout
    assert str(file) in text.replace("\n", "")
    record = load_record(file)
    assert record.kind == "doctor"
    assert record.machine["ceilings"]["fingerprint"] == record.machine["fingerprint"]


def test_traps_that_wait_for_engines_are_named(run, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    record = json.loads(run("--json", "--quick").stdout)
    topics = [one["topic"] for one in record["machine"]["advice"] if one["severity"] == "warning"]
    assert {"unequal threads", "C++ compiler missing"} <= set(topics)
    assert any("none of c++, g++, clang++ is on the path" in note for note in record["notes"])
