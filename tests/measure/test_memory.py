import gc

import pytest
from allocations import MIB, fresh_pages

from ivme.measure import memory
from ivme.measure.memory import PeakMemory, resident_bytes

# What the interpreter itself may add or give back meanwhile; the goal is 5% of an allocation.
TOLERANCE = 0.05


@pytest.mark.parametrize("mebibytes", [64, 128, 256])
def test_the_peak_of_a_known_allocation_is_found_after_it_is_freed(mebibytes):
    with PeakMemory() as peak:
        fresh_pages(mebibytes)
    assert peak.growth_bytes == pytest.approx(mebibytes * MIB, rel=TOLERANCE)
    assert peak.method == "kernel"
    assert peak.cuda_growth_bytes is None


def test_the_growth_can_be_read_while_the_watch_runs():
    with PeakMemory() as peak:
        before = peak.growth_bytes
        fresh_pages(64)
        assert peak.growth_bytes == pytest.approx(before + 64 * MIB, rel=TOLERANCE)


def test_overlapping_watches_keep_their_own_peaks():
    with PeakMemory() as outer:
        fresh_pages(128)
        with PeakMemory() as inner:
            fresh_pages(64)
    assert outer.growth_bytes == pytest.approx(128 * MIB, rel=TOLERANCE)
    assert inner.growth_bytes == pytest.approx(64 * MIB, rel=TOLERANCE)


def test_what_happens_after_the_stop_does_not_count():
    with PeakMemory() as peak:
        pass
    held = fresh_pages(64)
    assert peak.growth_bytes < 16 * MIB
    del held


def test_where_the_kernel_keeps_no_peak_a_thread_samples(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "none" / "clear_refs")
    with PeakMemory() as peak:
        held = fresh_pages(64)
    assert peak.method == "sampled"
    assert peak.growth_bytes == pytest.approx(held.nbytes, rel=TOLERANCE)


def test_a_watch_that_nobody_holds_is_forgotten():
    def start_and_drop() -> None:
        PeakMemory().start()

    start_and_drop()
    gc.collect()
    assert len(memory._running) == 0


def test_the_resident_size_agrees_with_psutil(monkeypatch, tmp_path):
    from_status = resident_bytes()
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    assert resident_bytes() == pytest.approx(from_status, rel=TOLERANCE)


@pytest.mark.gpu
def test_the_cuda_peak_of_a_known_allocation_is_found():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.zeros(1, device="cuda")
    with PeakMemory() as peak:
        torch.zeros(64 * MIB, dtype=torch.uint8, device="cuda")
    assert peak.cuda_growth_bytes == pytest.approx(64 * MIB, rel=TOLERANCE)
