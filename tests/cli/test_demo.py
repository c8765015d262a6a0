import pytest

from ivme.cli import demo
from ivme.measure.records import load_record


@pytest.fixture
def short_tour(monkeypatch):
    monkeypatch.setattr(demo, "TEXTS", 8)
    monkeypatch.setattr(demo, "BUDGET_S", 1e-3)
    monkeypatch.setattr(demo, "COMPARE_BUDGET_S", 0.05)


@pytest.mark.slow
def test_the_tour_leaves_its_records_and_one_report(ivme, short_tour, tmp_path):
    outcome = ivme("demo", "-o", tmp_path / "tour")
    assert outcome.status == 0, outcome.stderr
    names = sorted(path.name for path in (tmp_path / "tour").iterdir())
    assert names == ["bench.json", "compare.json", "doctor.json", "report.html"]
    for name in ("bench", "compare", "doctor"):
        assert load_record(tmp_path / "tour" / f"{name}.json").kind == name
    page = (tmp_path / "tour" / "report.html").read_text()
    assert "preset:t5-tiny" in page
    for stop in ("This machine", "Latency of a call", "encoder-decoder", "The whole tour"):
        assert stop in outcome.stdout
    tour = outcome.stdout.partition("The whole tour")[0]
    assert max(map(len, tour.splitlines())) <= 80


def test_an_interrupt_ends_the_tour_at_its_stop(ivme, short_tour, tmp_path, monkeypatch):
    from ivme.bench import sweep

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "load_model", interrupt)
    outcome = ivme("demo", "-o", tmp_path / "tour")
    assert outcome.status == 1
    names = sorted(path.name for path in (tmp_path / "tour").iterdir())
    assert names == ["bench.json", "doctor.json"]
