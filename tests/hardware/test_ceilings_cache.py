from dataclasses import replace
from pathlib import Path

import pytest

from ivme.hardware.cache import cache_folder
from ivme.hardware.ceilings import SizeSamples
from ivme.hardware.ceilings_cache import cached_ceilings, ceilings_file, load_ceilings


@pytest.fixture
def measured(make_ceilings, make_product):
    samples = (SizeSamples(size=16, seconds=(1.0, 1.0, 1.0)),)
    return make_ceilings(make_product("torch-fp32", "fp32", 1e9, samples=samples))


@pytest.fixture
def measure(measured):
    """Return a measurement that counts how often it is called."""

    def run(inventory, plan, *, progress):
        run.plans.append(plan.name)
        return replace(measured, plan=plan.name)

    run.plans = []
    return run


def test_the_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("IVME_CACHE_DIR", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("IVME_CACHE_DIR")
    assert cache_folder() == Path("/b/ivme")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache_folder() == Path("/c/.cache/ivme")


def test_ceilings_are_measured_once_and_read_back_whole(cache, make_inventory, measure, measured):
    first = cached_ceilings(make_inventory(), measure=measure)
    second = cached_ceilings(make_inventory(), measure=measure)
    assert measure.plans == ["full"]
    assert first == second == measured
    assert [file.suffix for file in cache.iterdir()] == [".json"]  # no temporary file is left


def test_refresh_measures_again(cache, make_inventory, measure):
    cached_ceilings(make_inventory(), measure=measure)
    cached_ceilings(make_inventory(), measure=measure, refresh=True)
    assert measure.plans == ["full", "full"]


def test_a_full_measurement_serves_a_quick_one_but_not_the_other_way(
    cache, make_inventory, measure
):
    cached_ceilings(make_inventory(), measure=measure, quick=True)
    cached_ceilings(make_inventory(), measure=measure)
    cached_ceilings(make_inventory(), measure=measure, quick=True)
    assert measure.plans == ["quick", "full"]


def test_another_machine_has_its_own_ceilings(cache, make_inventory, measure):
    cached_ceilings(make_inventory(), measure=measure)
    assert load_ceilings(make_inventory(fingerprint="fedcba9876543210")) is None


def test_a_new_device_is_measured(cache, make_inventory, measure, h200):
    cached_ceilings(make_inventory(), measure=measure)
    assert load_ceilings(make_inventory(accelerators=(h200,))) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 0}', '{"version": 2}'])
def test_a_damaged_cache_is_measured_again_with_a_notice(cache, make_inventory, measure, content):
    file = ceilings_file(make_inventory())
    file.parent.mkdir(parents=True)
    file.write_text(content)
    notices = []
    cached_ceilings(make_inventory(), measure=measure, notify=notices.append)
    assert measure.plans == ["full"]
    assert len(notices) == 1
    assert f"{file} is damaged" in notices[0]
    assert load_ceilings(make_inventory()) is not None


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(
    tmp_path, monkeypatch, make_inventory, measure
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IVME_CACHE_DIR", str(tmp_path / "file"))
    notices = []
    assert cached_ceilings(make_inventory(), measure=measure, notify=notices.append)
    assert "are not kept" in notices[-1]
    assert "Set IVME_CACHE_DIR" in notices[-1]


@pytest.mark.parametrize("cause", ["unconfirmed", "busy"])
def test_the_rates_of_a_busy_machine_are_not_kept(cache, make_inventory, measured, cause):
    shaky = replace(measured, busy_share=0.5)
    if cause == "unconfirmed":
        shaky = replace(measured, products=(replace(measured.products[0], is_confirmed=False),))
    notices = []
    cached_ceilings(make_inventory(), measure=lambda *_, **__: shaky, notify=notices.append)
    assert "the machine is busy" in notices[0]
    assert load_ceilings(make_inventory()) is None
