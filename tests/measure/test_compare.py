import itertools
import time
from collections import Counter

import numpy as np
import pytest
from noisy_clock import Noise, NoisyClock, simulated_comparison

from ivme.errors import ThreadMismatchError, UsageError
from ivme.measure.compare import (
    CALIBRATION_VISITS,
    CONTROL,
    ComparePlan,
    Progress,
    calibrate_calls,
    compare,
)

SILENCE = Noise(drift=0, wander=0, jitter=0, regime=0, spike_probability=0)


@pytest.mark.slow
def test_at_most_one_in_twenty_comparisons_of_equals_finds_a_difference():
    verdicts = Counter(simulated_comparison(seed, 1.0).verdict for seed in range(300))
    assert verdicts["faster"] + verdicts["slower"] <= 15
    assert verdicts["same"] >= 60


@pytest.mark.slow
def test_a_slowdown_of_three_percent_is_found_in_nine_of_ten_comparisons():
    verdicts = Counter(simulated_comparison(seed, 1.03).verdict for seed in range(300))
    assert verdicts["slower"] >= 270
    assert verdicts["faster"] == verdicts["same"] == 0


@pytest.mark.slow
def test_stopping_early_does_not_make_false_verdicts_more_frequent():
    # A width that is reached at chance moments, many looks, noise without the shared parts.
    noise = Noise(drift=0, wander=0, regime=0, jitter=0.05)
    plan = ComparePlan(min_blocks=8, max_blocks=64, visits=2, interval_width=0.06)
    results = [simulated_comparison(seed, 1.0, noise, plan) for seed in range(100)]
    assert len({len(one.blocks) for one in results}) > 1
    assert sum(one.verdict in ("faster", "slower") for one in results) <= 5


def test_a_real_comparison_of_a_product_with_itself_finds_no_difference():
    # Small enough for one thread: several would wait for each other on a busy machine.
    matrix = np.random.default_rng(0).standard_normal((48, 48), dtype=np.float32)

    def product() -> object:
        return matrix @ matrix

    plan = ComparePlan(budget_s=5, max_blocks=20, visits=3, equivalence_margin=0.1)
    [found] = compare({"product": product, "again": product}, plan=plan)
    assert found.verdict in ("same", "undecided")


def test_the_same_seed_gives_the_same_comparison():
    assert simulated_comparison(7, 1.05) == simulated_comparison(7, 1.05)


def test_every_other_variant_is_compared_with_the_baseline():
    clock = NoisyClock(0)
    variants = {name: clock.work(s) for name, s in (("a", 0.02), ("b", 0.01), ("c", 0.04))}
    found = compare(variants, baseline="b", clock=clock)
    assert [(one.baseline, one.variant, one.verdict) for one in found] == [
        ("b", "a", "slower"),
        ("b", "c", "slower"),
    ]
    assert [one.ratio for one in found] == pytest.approx([2.0, 4.0], rel=0.05)


def test_every_round_visits_each_slot_once_in_changing_orders():
    [block, *_] = reversed(simulated_comparison(3, 1.0).blocks)
    names = {"baseline", "variant", CONTROL}
    order = block["order"]
    rounds = [tuple(order[start : start + 3]) for start in range(0, len(order), 3)]
    assert len(rounds) == ComparePlan().visits
    assert all(set(one) == names for one in rounds)
    assert len(set(rounds)) > 1
    assert {name: len(taken) for name, taken in block["seconds"].items()} == dict.fromkeys(names, 5)


def test_short_calls_are_timed_many_at_a_time():
    clock = NoisyClock(0, SILENCE)
    variants = {"slow": clock.work(0.02), "short": clock.work(1e-5), "shorter": clock.work(2e-6)}
    found = calibrate_calls(variants, "slow", clock, 0.001)
    assert found["slow"] == 1
    assert 100 <= found["short"] <= 101
    assert 500 <= found["shorter"] <= 501
    plan = ComparePlan(max_blocks=10)
    [found] = compare({"a": clock.work(1e-5), "b": clock.work(2e-5)}, clock=clock, plan=plan)
    assert found.blocks[0]["seconds"]["a"][0] == pytest.approx(1e-5)
    assert found.ratio == pytest.approx(2.0)


def test_variants_of_similar_speed_make_the_same_number_of_calls():
    clock = NoisyClock(1, Noise(spike_probability=0.2))
    variants = {"a": clock.work(1e-4), "b": clock.work(1.1e-4), "c": clock.work(5e-4)}
    found = calibrate_calls(variants, "a", clock, 0.001)
    assert found["a"] == found["b"] > 2 * found["c"]


def test_an_interruption_during_calibration_does_not_lengthen_visits():
    clock = NoisyClock(0, SILENCE)
    seconds = itertools.chain([0.5, 1e-4, 1e-4, 0.3], itertools.repeat(1e-4))
    variants = {"a": lambda: clock.work(next(seconds))(), "b": clock.work(1e-4)}
    found = calibrate_calls(variants, "a", clock, 0.001)
    assert found["a"] == found["b"]


def test_calls_that_take_no_time_end_the_calibration():
    clock = NoisyClock(0, SILENCE)
    variants = {"a": lambda: None, "b": clock.work(0.01)}
    assert calibrate_calls(variants, "a", clock, 0.001) == {"a": 1_000_000, "b": 1}


def test_warm_up_is_left_out():
    clock = NoisyClock(0, SILENCE)
    seconds = itertools.chain([10.0, 10.0, 10.0], itertools.repeat(0.01))

    def warming() -> None:
        clock.work(next(seconds))()

    [found] = compare({"a": clock.work(0.01), "b": warming}, clock=clock)
    assert found.verdict == "same"
    assert max(max(block["seconds"]["b"]) for block in found.blocks) == pytest.approx(0.01)


def test_a_narrow_interval_stops_at_the_first_look():
    clock = NoisyClock(0, SILENCE)
    [found] = compare({"a": clock.work(0.01), "b": clock.work(0.02)}, clock=clock)
    assert (found.stopped_by, len(found.blocks), found.verdict) == ("width", 10, "slower")


def test_the_budget_ends_the_run_before_the_block_that_would_exceed_it():
    clock = NoisyClock(0, SILENCE)
    plan = ComparePlan(budget_s=100)
    [found] = compare({"a": clock.work(1.0), "b": clock.work(2.0)}, clock=clock, plan=plan)
    assert found.stopped_by == "width"
    slow = NoisyClock(0)
    [found] = compare({"a": slow.work(1.0), "b": slow.work(1.0)}, clock=slow, plan=plan)
    assert found.stopped_by == "budget"
    assert slow.now() <= 100
    # Blocks tell more than visits: of a short budget each block gets one visit a slot.
    assert len(found.blocks) > 15


def test_a_block_is_measured_even_if_the_budget_has_passed():
    clock = NoisyClock(0, SILENCE)
    plan = ComparePlan(budget_s=1)
    [found] = compare({"a": clock.work(5.0), "b": clock.work(50.0)}, clock=clock, plan=plan)
    assert (found.stopped_by, found.verdict, len(found.blocks)) == ("budget", "undecided", 1)
    assert "too few blocks for a verdict" in found.notes[0]


def interrupted_after(calls: int, clock: NoisyClock):
    counter = itertools.count(1)

    def run() -> None:
        if next(counter) > calls:
            raise KeyboardInterrupt
        clock.work(0.01)()

    return run


def test_an_interrupt_keeps_the_whole_blocks():
    clock = NoisyClock(0, SILENCE)
    variants = {"a": clock.work(0.01), "b": interrupted_after(43, clock)}
    [found] = compare(variants, clock=clock)
    assert found.stopped_by == "interrupted"
    assert len(found.blocks) == 8
    assert all(len(block["seconds"]) == 3 for block in found.blocks)
    assert len({len(block["seconds"]["b"]) for block in found.blocks[1:]}) == 1


def test_an_interrupt_before_the_first_block_is_passed_on():
    clock = NoisyClock(0, SILENCE)
    with pytest.raises(KeyboardInterrupt):
        compare({"a": clock.work(0.01), "b": interrupted_after(2, clock)}, clock=clock)


def test_a_control_that_differs_voids_the_verdict():
    plan = ComparePlan(visits=1, min_blocks=10, max_blocks=10)
    clock = NoisyClock(0, SILENCE)
    [even] = compare({"a": clock.work(0.01), "b": clock.work(0.02)}, clock=clock, plan=plan)
    assert (even.verdict, even.control_is_clean) == ("slower", True)
    # The same seed visits the slots in the same order: slow down those of the control.
    slots = [name for block in even.blocks for name in block["order"] if name != "b"]
    untimed = [0.01] * (plan.warmup_calls + CALIBRATION_VISITS)
    seconds = iter(untimed + [0.011 if name == CONTROL else 0.01 for name in slots])
    clock = NoisyClock(0, SILENCE)
    variants = {"a": lambda: clock.work(next(seconds))(), "b": clock.work(0.02)}
    [found] = compare(variants, clock=clock, plan=plan)
    assert (found.verdict, found.control_is_clean) == ("undecided", False)
    assert found.control_interval == pytest.approx((1.1, 1.1))
    assert "a against itself, shows a difference (ratio 1.100" in found.notes[0]


def test_progress_is_told_after_every_block():
    clock, told = NoisyClock(0, SILENCE), []
    compare({"a": clock.work(0.01), "b": clock.work(0.01)}, clock=clock, on_progress=told.append)
    assert [one.blocks for one in told] == list(range(1, 11))
    assert told[-1].fraction == pytest.approx(0.25)
    late = Progress(blocks=1, max_blocks=40, elapsed_s=90.0, budget_s=60.0)
    assert late.fraction == 1.0


def test_equal_threads_are_recorded_and_unequal_ones_refused():
    clock = NoisyClock(0, SILENCE)
    variants = {"a": clock.work(0.01), "b": clock.work(0.01)}
    [found] = compare(variants, clock=clock, threads={"a": 2, "b": 2})
    assert found.threads == 2
    with pytest.raises(ThreadMismatchError, match=r"differ in threads \(a: 1, b: 2\)"):
        compare(variants, clock=clock, threads={"a": 1, "b": 2})
    with pytest.raises(UsageError, match=r"threads names \['a'\]; expected \['a', 'b'\]"):
        compare(variants, clock=clock, threads={"a": 1})


def test_variants_that_cannot_be_compared_are_refused():
    with pytest.raises(UsageError, match=r"variants=\['a'\]; expected two or more"):
        compare({"a": time.perf_counter})
    with pytest.raises(UsageError, match=r"baseline='c'; expected one of \['a', 'b'\]"):
        compare({"a": time.perf_counter, "b": time.perf_counter}, baseline="c")
