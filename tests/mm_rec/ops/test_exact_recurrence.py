import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mm_rec_scan_cpu
from mm_rec.errors import ConfigError, ShapeError
from mm_rec.ops.exact_recurrence import exact_recurrence
from mm_rec.ops.gated_recurrence import gated_recurrence

NAMES = ["gamma_logit", "context_logit", "mdi_logit", "z"]


def _inputs(batch=2, steps=8, width=16, scale=2.0):
    torch.manual_seed(0)
    return [scale * torch.randn(batch, steps, width) for _ in NAMES]


def _weights(width=16):
    torch.manual_seed(1)
    shapes = [(width, width), (width,), (width, width)]
    return [torch.randn(shape) / width**0.5 for shape in shapes]


@settings(max_examples=20, deadline=None)
@given(cuts=st.sets(st.integers(1, 29), max_size=5), width=st.integers(1, 40))
def test_a_sequence_fed_in_chunks_equals_the_whole(cuts, width):
    leaves = [*_inputs(steps=30, width=width, scale=1.0), *_weights(width)]
    inputs, weights = [v.requires_grad_() for v in leaves[:4]], leaves[4:]
    weights = [v.requires_grad_() for v in weights]
    is_padding = torch.rand(2, 30) < 0.2
    whole, last = exact_recurrence(*inputs, None, *weights, is_padding)
    state, chunks = None, []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 30], strict=True):
        part = [value[:, start:end] for value in inputs]
        chunk, state = exact_recurrence(*part, state, *weights, is_padding[:, start:end])
        chunks.append(chunk)
    torch.testing.assert_close(torch.cat(chunks, dim=1), whole, rtol=1e-5, atol=1e-5)
    expected = torch.autograd.grad(whole.square().sum() + last.sum(), leaves)
    actual = torch.autograd.grad(torch.cat(chunks, dim=1).square().sum() + state.sum(), leaves)
    for value, true in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, true, rtol=1e-4, atol=1e-5)


def test_the_reference_computes_the_formulas_of_the_model():
    x, y, m, z = (value.double() for value in _inputs())
    gate_weight, gate_bias, mdi_weight = (value.double() for value in _weights())
    gamma = (torch.sigmoid(x) * torch.sigmoid(y)).clamp(1e-6, 1 - 1e-6)
    arguments = (x, y, m, z, None, gate_weight, gate_bias, mdi_weight)
    h, _ = exact_recurrence(*arguments, implementation="reference")
    state = torch.zeros(2, 16, dtype=torch.float64)
    for t in range(8):
        i = torch.sigmoid(state @ gate_weight.T + gate_bias)
        g = torch.sigmoid(m[:, t] + state @ mdi_weight.T)
        a = 1 - (1 - gamma[:, t]) * g
        state = a * state + (1 - gamma[:, t]) * g * i * z[:, t]
        torch.testing.assert_close(h[:, t], state, rtol=1e-12, atol=1e-12)


def test_gates_that_ignore_the_state_make_it_the_gated_recurrence():
    x, y, m, z = _inputs(steps=40, width=37)
    zeros, bias, h0 = torch.zeros(37, 37), torch.randn(37), torch.randn(2, 37)
    h, last = exact_recurrence(x, y, m, z, h0, zeros, bias, zeros)
    same, same_last = gated_recurrence(x, y, bias.expand_as(z), m, z, h0)
    torch.testing.assert_close(h, same, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(last, same_last, rtol=1e-6, atol=1e-6)


# One row, rows that fill no tile, more rows than tiles of a thread hold.
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 6, 7, 8, 13, 25])
def test_every_number_of_rows_is_right(
    batch, forced_instruction_set, run_with_gradients, truth, assert_close
):
    inputs = [*_inputs(batch, 6, 70), torch.randn(batch, 70), *_weights(70)]
    expected = truth(exact_recurrence, inputs)
    for name in mm_rec_scan_cpu.instruction_sets():
        forced_instruction_set(name)
        assert_close(run_with_gradients(exact_recurrence, inputs), expected)


@pytest.mark.parametrize("scale", [0.0, 10.0, 1e2, 1e4, 1e30])
def test_extreme_logits_stay_finite_and_right(scale, run_with_gradients, truth, assert_close):
    inputs = [*_inputs(steps=30, scale=scale)[:3], torch.randn(2, 30, 16)]
    inputs += [torch.randn(2, 16), *_weights()]
    actual = run_with_gradients(exact_recurrence, inputs)
    assert all(value.isfinite().all() for value in actual)
    assert_close(actual[:2], truth(exact_recurrence, inputs)[:2])


def test_padding_leaves_the_state_alone_whatever_it_holds():
    inputs, weights = _inputs(steps=9, width=20), _weights(20)
    is_padding = torch.zeros(2, 9, dtype=torch.bool)
    is_padding[0, :4] = True
    is_padding[1, 5:] = True
    for value in inputs:
        value[is_padding] = torch.nan
    leaves = [value.requires_grad_() for value in (*inputs, *weights)]
    h, last = exact_recurrence(*inputs, None, *weights, is_padding)
    assert (h[0, :4] == 0).all()
    assert torch.equal(h[1, 4], last[1])
    alone, _ = exact_recurrence(*(value[:1, 4:] for value in inputs), None, *weights)
    assert torch.equal(h[:1, 4:], alone)
    gradients = torch.autograd.grad(h.sum(), leaves)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all((gradient[is_padding] == 0).all() for gradient in gradients[:4])


@pytest.mark.parametrize("place", range(4), ids=NAMES.__getitem__)
def test_a_nan_shows_in_its_row_and_in_no_other(place, forced_instruction_set):
    inputs, weights = _inputs(batch=3, width=37), _weights(37)
    inputs[place][1, 3, 5] = torch.nan
    for name in mm_rec_scan_cpu.instruction_sets():
        forced_instruction_set(name)
        h, last = exact_recurrence(*inputs, None, *weights)
        assert h[1, 3, 5].isnan()
        assert h[1, 4:].isnan().all()  # through the gates it reaches every channel
        assert last[1].isnan().all()
        assert h[[0, 2]].isfinite().all()
        assert h[1, :3].isfinite().all()


def test_the_state_is_bounded_by_what_it_is_fed():
    inputs = _inputs(batch=1, steps=3000, scale=4.0)
    h, _ = exact_recurrence(*inputs, None, *_weights())
    assert h.abs().max() <= inputs[3].abs().max()


@pytest.mark.parametrize("steps", [1, 6])
def test_inside_autocast_it_computes_in_float32_all_the_same(steps):
    arguments = [*_inputs(steps=steps), torch.randn(2, 16), *_weights()]
    expected = exact_recurrence(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        actual = exact_recurrence(*arguments)
    assert all(torch.equal(value, true) for value, true in zip(actual, expected, strict=True))


@pytest.mark.parametrize("implementation", ["cpu", "reference"])
def test_gates_are_kept_only_where_a_gradient_wants_them(implementation):
    arguments = [*_inputs(), None, *_weights(), None, implementation]
    without = torch.ops.mm_rec.exact_recurrence(*arguments, False)
    with_gates = torch.ops.mm_rec.exact_recurrence(*arguments, True)
    assert without[2].numel() == 0
    assert with_gates[2].shape == (2, 8, 32)
    assert torch.equal(without[0], with_gates[0])


def test_the_argument_that_does_not_fit_is_named():
    inputs, weights = _inputs(), _weights()
    with pytest.raises(ShapeError, match=r"mdi_logit has shape \(2, 8, 8\); expected \(2, 8, 16\)"):
        exact_recurrence(*inputs[:2], inputs[2][..., :8], inputs[3], None, *weights)
    with pytest.raises(ShapeError, match=r"gate_weight has shape \(16, 8\); expected \(16, 16\)"):
        exact_recurrence(*inputs, None, weights[0][:, :8], *weights[1:])
    with pytest.raises(ShapeError, match=r"gate_bias has shape \(8,\); expected \(16,\)"):
        exact_recurrence(*inputs, None, weights[0], weights[1][:8], weights[2])
    with pytest.raises(ShapeError, match=r"h0 has shape \(3, 16\); expected \(2, 16\)"):
        exact_recurrence(*inputs, torch.zeros(3, 16), *weights)
    with pytest.raises(ConfigError, match=r"mdi_weight has dtype torch\.int64"):
        exact_recurrence(*inputs, None, *weights[:2], weights[2].long())
    with pytest.raises(ShapeError, match=r"is_padding has shape \(2, 7\); expected \(2, 8\)"):
        exact_recurrence(*inputs, None, *weights, torch.zeros(2, 7, dtype=torch.bool))
