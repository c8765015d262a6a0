import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_rec.core.quantization import prepare_qat
from mm_rec.errors import ConfigError
from mm_rec.training.schedule import SCHEDULES, make_schedule, parameter_groups


@settings(deadline=None)
@given(
    kind=st.sampled_from(SCHEDULES),
    max_steps=st.integers(1, 300),
    warmup_share=st.floats(0, 1),
    min_share=st.floats(0, 1),
)
def test_shares_rise_to_the_peak_and_then_only_fall(kind, max_steps, warmup_share, min_share):
    warmup_steps = int(max_steps * warmup_share)
    schedule = make_schedule(kind, warmup_steps, max_steps, min_share)
    shares = [schedule(step) for step in range(max_steps + 5)]
    rising, falling = shares[:warmup_steps], shares[warmup_steps:]
    assert rising == [(step + 1) / warmup_steps for step in range(warmup_steps)]
    assert all(0 < share <= 1 for share in rising)
    assert all(min(min_share, 1) - 1e-12 <= share <= 1 for share in falling)
    assert sorted(falling, reverse=True) == falling


@pytest.mark.parametrize("kind", ["cosine", "warmup-stable-decay"])
def test_the_last_step_has_the_least_share_and_later_ones_keep_it(kind):
    schedule = make_schedule(kind, 10, 101, 0.05)
    assert schedule(9) == schedule(10) == 1
    assert [schedule(step) for step in (100, 101, 1000)] == pytest.approx([0.05] * 3)


def test_each_kind_has_its_own_course():
    at = {kind: make_schedule(kind, 10, 111, 0.1) for kind in SCHEDULES}
    assert at["cosine"](60) == pytest.approx(0.55)
    assert at["constant"](110) == 1
    assert at["warmup-stable-decay"](88) == 1
    assert at["warmup-stable-decay"](99) == pytest.approx(0.55, abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("step", 0, 10, 0), "schedule='step'; expected one of cosine, constant"),
        (("cosine", 0, 0, 0), "max_steps=0; expected at least 1"),
        (("cosine", 11, 10, 0), "warmup_steps=11; expected 0 to max_steps=10"),
        (("cosine", 0, 10, 2), "min_share=2; expected 0 to 1"),
    ],
)
def test_settings_that_are_not_allowed_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_schedule(*arguments)


@pytest.mark.parametrize("is_quantized", [False, True])
def test_matrices_decay_and_nothing_else_does(make_model, is_quantized):
    model = make_model(use_uboo=True)
    if is_quantized:
        prepare_qat(model)
    decayed, others = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed_names = {named[id(parameter)] for parameter in decayed["params"]}
    other_names = {named[id(parameter)] for parameter in others["params"]}
    assert all(("weight" in name and "norm" not in name) for name in decayed_names)
    assert any("embeddings" in name for name in decayed_names)
    assert any("bank_weights" in name for name in other_names)
    frozen = {name for name in named.values() if "W_error" in name}
    assert decayed_names | other_names | frozen == set(named.values())
