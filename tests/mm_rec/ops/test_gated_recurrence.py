import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mm_rec_scan_cpu
from mm_rec.errors import ConfigError, ShapeError
from mm_rec.ops.gated_recurrence import INPUT_SCALES, gated_recurrence
from mm_rec.ops.gated_recurrence.reference import open_gates


def _inputs(batch=2, steps=8, width=16, scale=2.0):
    torch.manual_seed(0)
    return [scale * torch.randn(batch, steps, width) for _ in range(5)]


@pytest.fixture(params=INPUT_SCALES)
def input_scale(request):
    return request.param


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.sets(st.integers(1, 39), max_size=5),
    width=st.integers(1, 40),
    input_scale=st.sampled_from(INPUT_SCALES),
)
def test_a_sequence_fed_in_chunks_equals_the_whole(cuts, width, input_scale):
    run = partial(gated_recurrence, input_scale=input_scale)
    inputs = [value.requires_grad_() for value in _inputs(steps=40, width=width)]
    is_padding = torch.rand(2, 40) < 0.2
    whole, last = run(*inputs, is_padding=is_padding)
    state, chunks = None, []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True):
        part = [value[:, start:end] for value in inputs]
        chunk, state = run(*part, state, is_padding[:, start:end])
        chunks.append(chunk)
    torch.testing.assert_close(torch.cat(chunks, dim=1), whole, rtol=1e-5, atol=1e-5)
    expected = torch.autograd.grad(whole.square().sum() + last.sum(), inputs)
    actual = torch.autograd.grad(torch.cat(chunks, dim=1).square().sum() + state.sum(), inputs)
    for value, true in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, true, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("input_scale", INPUT_SCALES)
def test_the_reference_computes_the_formulas_of_the_model(input_scale):
    x, y, n, m, z = (value.double() for value in _inputs())
    gamma = (torch.sigmoid(x) * torch.sigmoid(y)).clamp(1e-6, 1 - 1e-6)
    a = 1 - (1 - gamma) * torch.sigmoid(m)
    scale = 1 - a if input_scale == "convex" else torch.sqrt(1 - a**2)
    b = scale * torch.sigmoid(n) * z
    state = torch.zeros(2, 16, dtype=torch.float64)
    h, _ = gated_recurrence(x, y, n, m, z, input_scale=input_scale, implementation="reference")
    for t in range(8):
        state = a[:, t] * state + b[:, t]
        torch.testing.assert_close(h[:, t], state, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 30.0])
def test_extreme_logits_stay_exact(scale, input_scale, run_with_gradients, truth, assert_close):
    run = partial(gated_recurrence, input_scale=input_scale)
    inputs = _inputs(steps=50, scale=scale)
    inputs = [*inputs[:4], torch.randn(2, 50, 16), torch.randn(2, 16)]
    assert_close(run_with_gradients(run, inputs), truth(run, inputs))


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
def test_absurd_logits_give_numbers(scale, input_scale, run_with_gradients):
    run = partial(gated_recurrence, input_scale=input_scale)
    inputs = [*_inputs(steps=50, scale=scale)[:4], torch.randn(2, 50, 16), torch.randn(2, 16)]
    assert all(value.isfinite().all() for value in run_with_gradients(run, inputs))


def test_infinite_logits_open_and_close_gates_for_good():
    inputs = [torch.full((1, 4, 16), torch.inf) for _ in range(4)]
    z = torch.randn(1, 4, 16)
    # gamma 1 - 1e-6, both gates open: each step writes a millionth of z.
    h, _ = gated_recurrence(*inputs, z)
    torch.testing.assert_close(h, 1e-6 * z.cumsum(1), rtol=1e-4, atol=1e-9)
    # gamma 1e-6: each step replaces the state.
    h, _ = gated_recurrence(-inputs[0], *inputs[1:], z)
    torch.testing.assert_close(h, z, rtol=1e-4, atol=1e-5)


def test_gates_near_one_keep_their_digits(input_scale):
    """A time constant of 300,000 steps is still right to 1e-5."""
    run = partial(gated_recurrence, input_scale=input_scale)
    logit = torch.full((1, 1, 16), 13.0)
    z, closed = torch.ones(1, 1, 16), torch.full((1, 1, 16), 40.0)
    h, _ = run(logit, logit, closed, closed, z)
    exact, _ = run(*(v.double() for v in (logit, logit, closed, closed, z)))
    torch.testing.assert_close(h.double(), exact, rtol=1e-5, atol=0)


def test_sigmoids_are_right_to_a_few_units_in_the_last_place(forced_instruction_set):
    logit = torch.linspace(-30, 30, 60_001).view(1, -1, 1).expand(1, -1, 16)
    half, full = torch.zeros_like(logit), torch.full_like(logit, 40.0)
    # One step from a zero state for every logit: batch takes the place of time.
    inputs = [value.transpose(0, 1).contiguous() for value in (half, half, logit, full, half + 1)]
    gates = open_gates(tuple(value.double() for value in inputs), None)
    exact = gates.weight * gates.input_gate
    for name in mm_rec_scan_cpu.instruction_sets():
        forced_instruction_set(name)
        h, _ = gated_recurrence(*inputs)
        assert ((h.double() - exact).abs() / exact).max() < 2e-6


def test_padding_leaves_the_state_alone_whatever_it_holds(input_scale):
    run = partial(gated_recurrence, input_scale=input_scale)
    inputs = _inputs(steps=9, width=20)
    is_padding = torch.zeros(2, 9, dtype=torch.bool)
    is_padding[0, :4] = True
    is_padding[1, 5:] = True
    for value in inputs:
        value[is_padding] = torch.nan
        value.requires_grad_()
    h, last = run(*inputs, is_padding=is_padding)
    assert (h[0, :4] == 0).all()
    assert torch.equal(h[1, 4], last[1])
    alone, _ = run(*(value[:1, 4:] for value in inputs))
    assert torch.equal(h[:1, 4:], alone)
    for gradient in torch.autograd.grad(h.sum(), inputs):
        assert (gradient[is_padding] == 0).all()
        assert gradient.isfinite().all()


def test_a_nan_logit_shows(input_scale, forced_instruction_set):
    for name in mm_rec_scan_cpu.instruction_sets():
        forced_instruction_set(name)
        for place in range(5):
            inputs = _inputs(width=37)
            inputs[place][0, 3, 5] = torch.nan
            h, _ = gated_recurrence(*inputs, input_scale=input_scale)
            is_nan = torch.zeros_like(h, dtype=torch.bool)
            is_nan[0, 3:, 5] = True
            assert torch.equal(h.isnan(), is_nan)


def test_the_state_is_bounded_by_what_it_is_fed():
    inputs = _inputs(batch=1, steps=5000, scale=4.0)
    h, _ = gated_recurrence(*inputs)
    assert h.abs().max() <= inputs[4].abs().max()


def test_the_variance_of_the_state_is_that_of_its_inputs_whatever_the_decay():
    torch.manual_seed(0)
    shape = (8, 20_000, 1)
    z, open_gate = torch.randn(shape), torch.full(shape, 40.0)
    for logit in (-2.0, 2.0, 5.0):  # time constants of 1.1, 8 and 150 steps
        gamma = torch.full(shape, logit)
        inputs = (gamma, open_gate, open_gate, open_gate, z)
        convex, _ = gated_recurrence(*inputs)
        kept, _ = gated_recurrence(*inputs, input_scale="variance")
        assert kept.std() == pytest.approx(1.0, abs=0.1)
        a = 1 / (1 + math.exp(-logit))
        assert convex.std() == pytest.approx(((1 - a) / (1 + a)) ** 0.5, rel=0.1)


@pytest.mark.slow
def test_bfloat16_state_gradients_hold_over_131072_steps(input_scale, run_with_gradients, truth):
    inputs = [value.bfloat16() for value in _inputs(batch=1, steps=131_072, width=4)]
    run = partial(gated_recurrence, input_scale=input_scale)
    actual = run_with_gradients(run, inputs, dtype=torch.bfloat16)
    for value, true in zip(actual, truth(run, inputs), strict=True):
        assert (value.double() - true).norm() / true.norm() < 0.01


def test_a_mask_of_another_shape_or_dtype_is_refused():
    inputs = _inputs()
    with pytest.raises(ShapeError, match=r"is_padding has shape \(2, 7\); expected \(2, 8\)"):
        gated_recurrence(*inputs, is_padding=torch.zeros(2, 7, dtype=torch.bool))
    with pytest.raises(ConfigError, match=r"is_padding is torch\.int64; expected a torch\.bool"):
        gated_recurrence(*inputs, is_padding=torch.zeros(2, 8, dtype=torch.int64))


def test_an_unknown_input_scale_is_refused():
    with pytest.raises(ConfigError, match=r"input_scale='unit'; expected one of \('convex', 'v"):
        gated_recurrence(*_inputs(), input_scale="unit")


def test_the_input_that_does_not_fit_is_named():
    inputs = _inputs()
    inputs[3] = inputs[3][:, :, :8]
    with pytest.raises(ShapeError, match=r"mdi_logit has shape \(2, 8, 8\); expected \(2, 8, 16\)"):
        gated_recurrence(*inputs)
