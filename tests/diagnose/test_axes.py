import pytest

from ivme.diagnose.axes import TOGETHER, all_at_once, make_axes, make_pairs, split_first
from ivme.diagnose.settings import NAMES, StepSettings

NOW = StepSettings(threads=2)


def axes_of(**options):
    found = make_axes(NOW, NAMES, cores=2, **options)
    return {axis.name: axis.variants for axis in found}


def test_each_axis_turns_its_own_setting_only():
    for name, variants in axes_of().items():
        for variant in variants:
            allowed = {name, "prefetch"} if name == "workers" else {name}
            assert set(variant.differences(NOW)) <= allowed


def test_batch_sizes_go_from_2_to_32_and_workers_to_4():
    axes = axes_of()
    assert [one.batch_size for one in axes["batch_size"]] == [4, 8, 16, 32]
    assert [(one.workers, one.prefetch) for one in axes["workers"]] == [(2, 2), (4, 2), (2, 4)]


def test_texts_are_never_longer_than_the_model_takes():
    lengths = [one.sequence_length for one in axes_of(longest=512)["sequence_length"]]
    assert lengths == [256]


def test_what_a_target_does_not_take_is_not_turned():
    found = make_axes(NOW, ("batch_size", "threads"), cores=2)
    assert [axis.name for axis in found] == ["threads", "batch_size"]


def test_pairs_join_the_best_batch_size_with_each_other_remedy():
    best = {"batch_size": NOW.changed(batch_size=8), "dtype": NOW.changed(dtype="bfloat16")}
    pairs = make_pairs(NOW, best, failed=("compile",), turnable=NAMES)
    assert pairs.name == TOGETHER
    assert NOW.changed(batch_size=8, dtype="bfloat16") in pairs.variants
    assert NOW.changed(batch_size=8, workers=4) in pairs.variants
    assert not any(one.compile for one in pairs.variants)


def test_what_turns_one_setting_alone_is_no_pair():
    assert make_pairs(NOW, {}, failed=(), turnable=NAMES) is None
    best = {"workers": NOW.changed(workers=2, prefetch=4)}
    assert make_pairs(NOW, best, failed=(), turnable=NAMES) is None
    best["dtype"] = NOW.changed(dtype="bfloat16")
    pairs = make_pairs(NOW, best, failed=(), turnable=NAMES)
    assert NOW.changed(workers=2, prefetch=4, dtype="bfloat16") in pairs.variants
    assert all(len(one.differences(NOW)) > 1 for one in pairs.variants)


def test_to_be_quick_only_all_that_helped_is_tried_together():
    best = {"batch_size": NOW.changed(batch_size=8), "dtype": NOW.changed(dtype="bfloat16")}
    pairs = make_pairs(NOW, best, failed=(), turnable=NAMES, is_quick=True)
    assert pairs.variants == (NOW.changed(batch_size=8, dtype="bfloat16"),)
    assert make_pairs(NOW, {}, failed=(), turnable=NAMES, is_quick=True) is None


def test_all_at_once_leaves_out_what_changes_the_task():
    best = {
        "batch_size": NOW.changed(batch_size=8),
        "sequence_length": NOW.changed(sequence_length=256),
    }
    assert all_at_once(NOW, best) == NOW.changed(batch_size=8)


def test_what_is_there_already_is_not_tried():
    now = NOW.changed(workers=2, prefetch=4)
    [workers] = [axis for axis in make_axes(now, NAMES, cores=2) if axis.name == "workers"]
    assert now not in workers.variants
    assert len(workers.variants) == 2


@pytest.mark.parametrize(("present", "first"), [(2, 8), (8, 16), (64, 8)])
def test_first_come_precision_threads_and_one_larger_batch(present, first):
    axes = make_axes(NOW.changed(batch_size=present), NAMES, cores=2)
    soon, rest = split_first(axes)
    assert [axis.name for axis in soon] == ["dtype", "threads", "batch_size"]
    assert [one.batch_size for one in soon[-1].variants] == [first]
    tried = [one for axis in (*soon, *rest) for one in axis.variants]
    assert sorted(map(repr, tried)) == sorted(repr(one) for axis in axes for one in axis.variants)
