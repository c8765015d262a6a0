import torch

from ivme.diagnose.examination import FEWEST_LEAK_STEPS, LEAK_RUNS
from ivme.diagnose.leaks import find_leak


def test_losses_that_are_kept_with_their_graph_are_named():
    weight, losses = torch.rand(64, 64, requires_grad=True), []

    def step():
        loss = (torch.rand(64, 64) @ weight).sum()
        loss.backward()
        losses.append(loss)

    leak = find_leak(step, 6)
    assert "1 more of the tensors [] float32 after each step" in leak["kept"]
    assert "'losses' of" in leak["kept"]
    assert "keep loss.item() or loss.detach()" in leak["kept"]


def test_other_memory_is_named_by_the_line_that_allocates_it():
    kept = []
    leak = find_leak(lambda: kept.append(bytearray(1_000_000)), 6)
    assert 1_000_000 <= leak["bytes_per_step"] < 1_100_000
    assert "test_leaks.py, line" in leak["kept"]


def test_a_sound_step_does_not_leak():
    weight = torch.rand(64, 64, requires_grad=True)
    assert find_leak(lambda: (weight * 2).sum().backward(), 6) is None


def test_a_cache_that_fills_at_first_is_no_leak():
    kept = []

    def step():
        if len(kept) < 3:
            kept.append(bytearray(1_000_000))

    assert find_leak(step, 6) is None


def test_few_steps_still_find_what_can_be_counted():
    kept = []
    runs = []

    def step():
        runs.append(1)
        kept.append(bytearray(1_000_000))

    assert "test_leaks.py, line" in find_leak(step, FEWEST_LEAK_STEPS)["kept"]
    assert len(runs) <= FEWEST_LEAK_STEPS + LEAK_RUNS
    tensors, weight = [], torch.rand(8, 8, requires_grad=True)
    leak = find_leak(lambda: tensors.append(weight.sum()), FEWEST_LEAK_STEPS)
    assert "1 more of the tensors" in leak["kept"]
    assert find_leak(lambda: weight.sum().backward(), FEWEST_LEAK_STEPS) is None
