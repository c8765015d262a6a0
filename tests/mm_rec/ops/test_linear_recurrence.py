import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_rec.errors import ConfigError, ShapeError
from mm_rec.ops.linear_recurrence import linear_recurrence


def _inputs(batch=2, steps=8, width=16):
    torch.manual_seed(0)
    return torch.rand(batch, steps, width), torch.randn(batch, steps, width)


@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, 59), max_size=5), width=st.integers(1, 40))
def test_a_sequence_fed_in_chunks_equals_the_whole(cuts, width):
    a, b = (value.requires_grad_() for value in _inputs(steps=60, width=width))
    whole, last = linear_recurrence(a, b)
    state, chunks = None, []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 60], strict=True):
        chunk, state = linear_recurrence(a[:, start:end], b[:, start:end], state)
        chunks.append(chunk)
    torch.testing.assert_close(torch.cat(chunks, dim=1), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-5)
    expected = torch.autograd.grad(whole.square().sum() + last.sum(), (a, b))
    actual = torch.autograd.grad(torch.cat(chunks, dim=1).square().sum() + state.sum(), (a, b))
    for value, true in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, true, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 1e-38, 1e-6, 1 - 1e-6, 1.0])
def test_extreme_decays_stay_exact(decay, run_with_gradients, truth, assert_close):
    _, b = _inputs(steps=300)
    inputs = [torch.full_like(b, decay), b, torch.randn(2, 16)]
    assert_close(run_with_gradients(linear_recurrence, inputs), truth(linear_recurrence, inputs))


def test_the_last_state_is_the_last_step_and_carries_a_gradient():
    a, b = _inputs()
    b.requires_grad_()
    h, last = linear_recurrence(a, b)
    assert torch.equal(h[:, -1], last)
    (gradient,) = torch.autograd.grad(last.sum(), b)
    torch.testing.assert_close(gradient[:, -2], a[:, -1])


@pytest.mark.slow
def test_bfloat16_state_gradients_hold_over_131072_steps(run_with_gradients, truth):
    steps = 131_072
    # Decays that bfloat16 holds, close enough to 1 that the first state still counts at the end.
    a = torch.ones(1, steps, 4)
    a[:, ::4096] = 0.875
    inputs = [a, torch.randn(1, steps, 4), torch.randn(1, 4)]
    inputs = [value.bfloat16() for value in inputs]
    actual = run_with_gradients(linear_recurrence, inputs, dtype=torch.bfloat16)
    for value, true in zip(actual, truth(linear_recurrence, inputs), strict=True):
        error = (value.double() - true).norm() / true.norm()
        assert error < 0.01


def test_a_nan_stays_in_its_channel_and_its_future():
    a, b = _inputs(width=37)
    b[0, 3, 5] = torch.nan
    h, _ = linear_recurrence(a, b)
    is_nan = torch.zeros_like(h, dtype=torch.bool)
    is_nan[0, 3:, 5] = True
    assert torch.equal(h.isnan(), is_nan)


def test_mixed_dtypes_are_promoted_as_torch_does():
    a, b = _inputs()
    h, last = linear_recurrence(a.bfloat16(), b)
    assert (h.dtype, last.dtype) == (torch.float32, torch.float32)


def test_the_state_stays_float32_beside_bfloat16():
    a, b = _inputs()
    h, last = linear_recurrence(a.bfloat16(), b.bfloat16(), torch.zeros(2, 16).bfloat16())
    assert (h.dtype, last.dtype) == (torch.bfloat16, torch.float32)


def test_shapes_that_differ_are_refused_by_name():
    a, b = _inputs()
    message = r"b has shape \(2, 7, 16\); expected \(2, 8, 16\), the shape of a\."
    with pytest.raises(ShapeError, match=message):
        linear_recurrence(a, b[:, :7])


@pytest.mark.parametrize("shape", [(2, 0, 16), (0, 8, 16), (2, 8, 0), (8, 16), (1, 2, 8, 16)])
def test_sequences_that_are_not_three_full_dimensions_are_refused(shape):
    with pytest.raises(ShapeError, match=r"a has shape .*; expected \[B, T, D\], each at least 1"):
        linear_recurrence(torch.ones(shape), torch.ones(shape))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.bool, torch.complex64])
def test_other_dtypes_are_refused(dtype):
    a, b = _inputs()
    with pytest.raises(ConfigError, match=f"b has dtype {dtype}.*; expected a dense tensor"):
        linear_recurrence(a, b.to(dtype))


def test_a_list_is_refused():
    a, _ = _inputs()
    with pytest.raises(ConfigError, match="b is a list; expected a torch tensor"):
        linear_recurrence(a, [1.0])


def test_a_state_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"h0 has shape \(2, 15\); expected \(2, 16\)"):
        linear_recurrence(*_inputs(), torch.ones(2, 15))


def test_tensors_on_different_devices_are_refused():
    a, b = _inputs()
    with pytest.raises(ConfigError, match="b is on meta; expected cpu, where a is"):
        linear_recurrence(a, b.to("meta"))
