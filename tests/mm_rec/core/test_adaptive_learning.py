import json
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mm_rec.core.adaptive_learning import AdaptiveLearningRateScheduler
from mm_rec.errors import ConfigError


def make_optimizer(*rates):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups)


def rates_of(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


METRICS = st.lists(st.one_of(st.floats(0.5, 2), st.just(math.nan), st.just(math.inf)), max_size=40)


@settings(deadline=None)
@given(
    metrics=METRICS,
    mode=st.sampled_from(["min", "max"]),
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 3),
    threshold=st.sampled_from([0, 1e-4, 0.1]),
    sign=st.sampled_from([1, -1]),
)
def test_alone_it_does_what_reduce_on_plateau_does(
    metrics, mode, factor, patience, cooldown, threshold, sign
):
    if mode == "max":  # torch takes an infinite maximum for progress, for ever
        metrics = [0.0 if metric == math.inf else metric for metric in metrics]
    arguments = {
        "factor": factor, "patience": patience, "cooldown": cooldown, "threshold": threshold
    }  # fmt: skip
    # Torch takes a worse negative metric for progress: it is given the same ones above zero.
    own_mode = mode if sign == 1 else {"min": "max", "max": "min"}[mode]
    ours, theirs = make_optimizer(0.1, 0.01), make_optimizer(0.1, 0.01)
    scheduler = AdaptiveLearningRateScheduler(ours, mode=own_mode, min_lr=1e-3, **arguments)
    reference = ReduceLROnPlateau(theirs, mode=mode, min_lr=1e-3, eps=0, **arguments)
    for metric in metrics:
        before = rates_of(ours)
        assert scheduler.step(sign * metric) == (rates_of(ours) != before)
        reference.step(metric)
        assert rates_of(ours) == rates_of(theirs)
    assert rates_of(ours)[0] == pytest.approx(0.1 * scheduler.scale)


@settings(deadline=None)
@given(
    metrics=st.lists(st.floats(-2, 2), min_size=1, max_size=40),
    mode=st.sampled_from(["min", "max"]),
    threshold=st.sampled_from([0, 1e-4, 0.1, 1.0]),
)
@example(metrics=[-1.0, -0.99995], mode="min", threshold=1e-4)
@example(metrics=[1.0, 0.5], mode="min", threshold=1.0)
def test_the_best_metric_is_never_replaced_by_a_worse_one(metrics, mode, threshold):
    scheduler = AdaptiveLearningRateScheduler(
        make_optimizer(0.1), mode=mode, patience=100, threshold=threshold
    )
    scheduler.step(metrics[0])
    assert scheduler.best == metrics[0]
    for metric in metrics[1:]:
        before = scheduler.best
        scheduler.step(metric)
        if scheduler.best != before:
            assert scheduler.best == metric
            gain = before - metric if mode == "min" else metric - before
            assert gain > 0


def test_beside_a_schedule_the_rates_are_the_schedules_times_the_scale():
    optimizer = make_optimizer(0.1)
    scheduler = AdaptiveLearningRateScheduler(optimizer, patience=0, min_lr=1e-3)
    for step in range(6):
        share = (step + 1) / 6
        optimizer.param_groups[0]["lr"] = 0.1 * share * scheduler.scale
        scheduler.step(1.0, step)
        assert rates_of(optimizer) == pytest.approx([max(0.1 * share * scheduler.scale, 1e-3)])
    assert scheduler.scale == 0.5**5


def test_the_scale_stops_where_the_peak_rate_is_the_least_rate():
    optimizer = make_optimizer(0.1, 0.01)
    scheduler = AdaptiveLearningRateScheduler(optimizer, patience=0, min_lr=0.03)
    reductions = [scheduler.step(1.0) for _ in range(5)]
    assert reductions == [False, True, True, False, False]
    assert scheduler.scale == pytest.approx(0.3)
    assert rates_of(optimizer) == [0.03, 0.01]  # one below it from the start is left alone


def test_the_peak_is_not_what_a_warm_up_begins_with():
    optimizer = make_optimizer(1e-7)
    optimizer.param_groups[0]["initial_lr"] = 0.1
    scheduler = AdaptiveLearningRateScheduler(optimizer, patience=0, min_lr=1e-6)
    scheduler.step(1.0)
    assert scheduler.step(1.0)
    assert scheduler.scale == 0.5
    assert rates_of(optimizer) == [1e-7]


def test_a_step_seen_before_counts_once():
    scheduler = AdaptiveLearningRateScheduler(make_optimizer(0.1), patience=1)
    assert [scheduler.step(1.0, step) for step in (10, 20, 20, 10, 30)] == [False] * 4 + [True]


@given(metrics=METRICS, cut=st.integers(0, 40))
@example(metrics=[1.0] * 60, cut=20)
@settings(deadline=None)
def test_a_loaded_state_goes_on_as_if_never_interrupted(metrics, cut):
    one, other = make_optimizer(0.1), make_optimizer(0.1)
    whole = AdaptiveLearningRateScheduler(one, patience=1, cooldown=1)
    first = AdaptiveLearningRateScheduler(other, patience=1, cooldown=1)
    for step, metric in enumerate(metrics):
        if step == cut:
            state = json.loads(json.dumps(first.state_dict()))
            first = AdaptiveLearningRateScheduler(other, patience=1, cooldown=1)
            first.load_state_dict(state)
        assert whole.step(metric, step) == first.step(metric, step)
        assert (whole.scale, rates_of(one)) == (first.scale, rates_of(other))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "least"}, "mode='least'; expected 'min' or 'max'"),
        ({"factor": 1.0}, r"factor=1.0; expected a number between 0 and 1"),
        ({"patience": -1}, "patience=-1; expected 0 or more"),
        ({"cooldown": -1}, "cooldown=-1; expected 0 or more"),
        ({"min_lr": -1.0}, r"min_lr=-1.0; expected a number from 0 up"),
        ({"threshold": math.nan}, "threshold=nan; expected a number from 0 up"),
    ],
)
def test_settings_that_are_not_allowed_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        AdaptiveLearningRateScheduler(make_optimizer(0.1), **settings)


def test_a_foreign_state_is_refused():
    with pytest.raises(ConfigError, match=r"state holds \['lr'\]; expected"):
        AdaptiveLearningRateScheduler(make_optimizer(0.1)).load_state_dict({"lr": 1})
