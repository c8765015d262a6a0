from dataclasses import replace

import pytest

from ivme.errors import RefusedError
from ivme.hardware.accelerators import Accelerator
from ivme.hardware.ceilings import (
    ENOUGH_TURNS,
    SAMPLES_PER_TURN,
    CeilingPlan,
    measure_ceilings,
    processor_paths,
    sample_in_turns,
)
from ivme.hardware.copies import accelerator_copy, copy_paths, prepare_copy
from ivme.hardware.inventory import read_inventory
from ivme.hardware.products.product import PreparedProduct, ProductPath

TINY_PLAN = CeilingPlan(
    sizes=(16, 32), accelerator_sizes=(16,), product_budget_s=0.0, copy_budget_s=0.0
)


class ScriptedTime:
    """Time that passes only where a test says so, and a nanosecond with each reading."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        self.now_s += 1e-9
        return self.now_s

    def spend(self, seconds):
        self.now_s += seconds


def scripted_path(name, clock, seconds_of_size):
    """Return a path whose product of size n takes seconds_of_size(n) of scripted time."""

    def prepare(size, threads):
        return PreparedProduct(
            run=lambda: clock.spend(seconds_of_size(size)), result=lambda: None, ran_in="fp32"
        )

    return ProductPath(name=name, library="torch", precision="fp32", how=name, prepare=prepare)


@pytest.fixture(scope="module")
def here():
    return read_inventory(with_torch=True)


def test_every_path_on_this_processor_is_measured_or_says_why_not(here):
    ceilings = measure_ceilings(here, TINY_PLAN, threads=1)
    on_processor = [rate for rate in ceilings.products if rate.device == "cpu"]
    assert [rate.path for rate in on_processor] == [path.name for path in processor_paths()]
    for rate in on_processor:
        assert (rate.operations_per_s is None) == bool(rate.unavailable)
        assert rate.threads == 1
    for copy in ceilings.copies:
        assert copy.bytes_per_s == copy.bytes_per_sample / min(copy.seconds)


def test_the_threads_of_torch_are_set_back(here):
    import torch

    before = torch.get_num_threads()
    measure_ceilings(here, TINY_PLAN, threads=before + 1, paths=[])
    assert torch.get_num_threads() == before


def test_the_rate_is_that_of_the_best_sample_over_all_sizes(make_inventory):
    clock = ScriptedTime()
    path = scripted_path("path", clock, {16: 1e-6, 32: 4e-6}.__getitem__)
    plan = replace(TINY_PLAN, product_budget_s=1.0)
    ceilings = measure_ceilings(make_inventory(), plan, threads=1, paths=[path], now=clock)
    rate = ceilings.product("path")
    assert rate.operations_per_s == pytest.approx(2 * 32**3 / 4e-6, rel=1e-3)
    assert (rate.best_size, rate.is_confirmed) == (32, True)
    assert rate.spread == pytest.approx(1.0)
    assert [taken.size for taken in rate.samples] == [16, 32]
    assert ceilings.best_product("fp32").path == "path"
    assert ceilings.best_product("bf16") is None


def test_a_path_that_refuses_keeps_its_place_with_the_reason(make_inventory):
    def refuse(size, threads):
        raise RefusedError("no such instruction")

    clock = ScriptedTime()
    path = ProductPath(name="p", library="torch", precision="bf16", how="h", prepare=refuse)
    ceilings = measure_ceilings(make_inventory(), TINY_PLAN, threads=1, paths=[path], now=clock)
    assert ceilings.products[0].unavailable == "no such instruction"
    assert ceilings.product("p") is None


def test_a_size_that_would_eat_the_budget_is_left_out_and_says_so(make_inventory):
    clock = ScriptedTime()
    path = scripted_path("slow", clock, lambda size: (size / 16) ** 3)
    plan = replace(TINY_PLAN, product_budget_s=10.0)
    ceilings = measure_ceilings(make_inventory(), plan, threads=1, paths=[path], now=clock)
    rate = ceilings.product("slow")
    assert [taken.size for taken in rate.samples] == [16]
    assert rate.left_out == {"32": "one call would take about 8 s"}


def test_paths_take_turns():
    clock, order = ScriptedTime(), []

    def run(name):
        order.append(name)
        clock.spend(1.0)

    taken = sample_in_turns({"a": lambda: run("a"), "b": lambda: run("b")}, 11.5, clock)
    burst = ["a"] * SAMPLES_PER_TURN + ["b"] * SAMPLES_PER_TURN
    assert order == burst * 2
    assert taken["a"] == pytest.approx((1.0,) * 2 * SAMPLES_PER_TURN)


def test_steady_samples_end_early_and_unsteady_ones_use_the_budget():
    def count(durations):
        clock, calls = ScriptedTime(), [0]

        def run():
            clock.spend(durations[calls[0] % len(durations)])
            calls[0] += 1

        return len(sample_in_turns({"run": run}, 500.0, clock)["run"])

    assert count([1.0]) == ENOUGH_TURNS * SAMPLES_PER_TURN
    assert count([1.0, 2.0, 2.0]) > 2 * ENOUGH_TURNS * SAMPLES_PER_TURN


def test_a_lucky_best_sample_is_not_confirmed(make_inventory):
    clock = ScriptedTime()
    durations = iter([1.0, 0.1, 1.0, 1.0])
    path = scripted_path("path", clock, lambda size: next(durations))
    plan = replace(TINY_PLAN, sizes=(16,))
    ceilings = measure_ceilings(make_inventory(), plan, threads=1, paths=[path], now=clock)
    assert not ceilings.product("path").is_confirmed
    assert not ceilings.is_confirmed


def test_a_device_without_its_number_is_the_first_of_its_kind(make_ceilings, make_product):
    ceilings = make_ceilings(
        make_product("processor", "fp32", 1e12),
        make_product("first", "fp32", 50e12, device="cuda:0"),
        make_product("second", "fp32", 60e12, device="cuda:1"),
    )
    devices = ("cpu", "cuda", "cuda:0", "cuda:1")
    found = [ceilings.best_product("fp32", device).path for device in devices]
    assert found == ["processor", "first", "first", "second"]
    assert ceilings.best_product("fp32", "cuda:2") is None
    copy = replace(ceilings.copies[0], device="cuda:0")
    assert replace(ceilings, copies=(copy,)).copy("memory", "cuda") is copy


def test_copies_fit_half_of_each_cache_and_exceed_the_last(make_inventory):
    sizes = {path.level: path.working_set_bytes for path in copy_paths(make_inventory())}
    assert sizes == {"L2": 1 << 20, "L3": 16 << 20, "memory": 256 << 20}


def test_the_memory_copy_leaves_most_of_a_small_memory_alone(make_inventory):
    machine = make_inventory()
    small = replace(machine, memory=replace(machine.memory, available_bytes=64 << 20))
    assert copy_paths(small)[-1].working_set_bytes == 16 << 20


def test_a_copy_counts_what_is_read_and_written(make_inventory):
    path = copy_paths(make_inventory())[0]
    _, moved_bytes = prepare_copy(path)
    assert moved_bytes == 16 << 20  # sixteen times a working set of 1 MiB


def test_a_device_copy_stays_within_an_eighth_of_its_memory(h200):
    assert accelerator_copy(h200).working_set_bytes == 2 << 30
    small: Accelerator = replace(h200, memory_bytes=8 << 30)
    assert accelerator_copy(small).working_set_bytes == 1 << 30
