import os
import subprocess
import sys
from pathlib import Path

import pytest

from ivme.measure.records import load_record

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = (
    "01_autotokenizer_automodel",
    "02_gpt_bert_t5_comparison",
    "03_cpu_gpu_optimization",
    "04_performance_measurement",
)


@pytest.fixture
def run(tmp_path):
    """Return a function that runs an example in an empty folder without a network."""
    work = tmp_path / "work"
    work.mkdir()

    def start(name, *arguments, leaves=()):
        result = subprocess.run(
            [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments],
            cwd=work,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        assert sorted(path.name for path in work.iterdir()) == sorted(leaves)
        return result.stdout

    return start


def line_of(text, start):
    """Return the one line that begins so, without its beginning."""
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return line.removeprefix(start).strip()


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_read_in_a_minute(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len(text.splitlines()) < 60
    assert f"python examples/{name}.py [MODEL" in text


@pytest.mark.slow
def test_a_pipeline_gives_the_answers_of_the_manual_call_and_is_compared_with_it(run):
    text = run("01_autotokenizer_automodel", "preset:bert-tiny")
    assert line_of(text, "encoded").split()[0] == "[CLS]"
    assert line_of(text, "decoded") == line_of(text, "text").lower()
    assert line_of(text, "by hand  ") == line_of(text, "pipeline ")
    assert line_of(text, "custom").startswith("unsure 0.5")
    assert "verdict: " in text


@pytest.mark.slow
def test_three_architectures_stand_side_by_side(run):
    text = run("02_gpt_bert_t5_comparison")
    for architecture, strength in (
        ("decoder-only", "writing on from a prompt"),
        ("encoder-only", "classifying, scoring and embedding"),
        ("encoder-decoder", "turning one text into another"),
    ):
        assert line_of(text, f"  {architecture} ").startswith(strength)
    assert text.count(" read ") == 3
    assert text.count(" write 8 ") == 2
    assert text.count("verdict: ") == 2


@pytest.mark.slow
def test_every_way_to_be_faster_is_compared(run):
    text = run("03_cpu_gpu_optimization")
    for step in ("precision", "batches", "gradients"):
        assert "verdict: " in line_of(text, step)
    assert "device      c" in text  # cpu or cuda, and why


@pytest.mark.slow
def test_a_measurement_leaves_its_record_and_report_where_it_was_told_to(run, tmp_path):
    folder = tmp_path / "measured"
    text = run("04_performance_measurement", "preset:bert-tiny", str(folder))
    assert text.count("latency of") == 3
    assert sorted(path.name for path in folder.iterdir()) == ["measurement.json", "report.html"]
    sizes = [
        one.configuration["batch_size"]
        for one in load_record(folder / "measurement.json").measurements
    ]
    assert sizes == [1, 4, 16]
    assert "<svg" in (folder / "report.html").read_text()
