import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_rec.errors import ConfigError, ShapeError
from mm_rec.ops.gated_recurrence import INPUT_SCALES, gated_recurrence
from mm_rec.ops.parallel_recurrence import parallel_recurrence


def _inputs(batch=2, steps=8, width=16):
    torch.manual_seed(0)
    rows = (batch, 1 + steps)
    gamma, z = (2 * torch.randn(*rows, width) for _ in range(2))
    return [gamma, 2 * torch.randn(batch, steps, width), torch.randn(*rows, 3 * width), z]


@pytest.mark.parametrize("input_scale", INPUT_SCALES)
def test_it_is_the_gated_recurrence_with_gates_of_the_row_before(input_scale):
    gamma, context, gates, z = (value.double() for value in _inputs())
    gate, mdi_state, mdi_input = gates.split(16, dim=-1)
    expected = gated_recurrence(
        gamma[:, 1:], context, gate[:, :-1], mdi_state[:, :-1] + mdi_input[:, 1:], z[:, 1:],
        input_scale=input_scale,
    )  # fmt: skip
    found = parallel_recurrence(gamma, context, gates, z, input_scale=input_scale)
    for value, true in zip(found, expected, strict=True):
        torch.testing.assert_close(value, true, rtol=1e-12, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.sets(st.integers(1, 39), max_size=5),
    width=st.integers(1, 40),
    input_scale=st.sampled_from(INPUT_SCALES),
)
def test_a_sequence_fed_in_chunks_equals_the_whole(cuts, width, input_scale):
    inputs = [value.requires_grad_() for value in _inputs(steps=40, width=width)]
    gamma, context, gates, z = inputs
    is_padding = torch.rand(2, 40) < 0.2
    whole, last = parallel_recurrence(*inputs, is_padding=is_padding, input_scale=input_scale)
    state, chunks = None, []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True):
        rows, steps = slice(start, end + 1), slice(start, end)
        chunk, state = parallel_recurrence(
            gamma[:, rows], context[:, steps], gates[:, rows], z[:, rows],
            state, is_padding[:, steps], input_scale=input_scale,
        )  # fmt: skip
        chunks.append(chunk)
    torch.testing.assert_close(torch.cat(chunks, dim=1), whole, rtol=1e-5, atol=1e-5)
    expected = torch.autograd.grad(whole.square().sum() + last.sum(), inputs)
    actual = torch.autograd.grad(torch.cat(chunks, dim=1).square().sum() + state.sum(), inputs)
    for value, true in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, true, rtol=1e-5, atol=1e-5)


def test_rows_that_no_step_reads_have_no_say_and_no_gradient():
    gamma, context, gates, z = _inputs()
    expected, _ = parallel_recurrence(gamma, context, gates, z)
    gamma[:, 0] = z[:, 0] = gates[:, 0, 32:] = gates[:, -1, :32] = torch.nan
    inputs = [value.requires_grad_() for value in (gamma, context, gates, z)]
    h, _ = parallel_recurrence(*inputs)
    assert torch.equal(h, expected)
    gamma, _, gates, z = torch.autograd.grad(h.sum(), inputs)
    for unread in (gamma[:, 0], z[:, 0], gates[:, 0, 32:], gates[:, -1, :32]):
        assert (unread == 0).all()


def test_the_input_that_does_not_fit_is_named():
    gamma, context, gates, z = _inputs()
    with pytest.raises(ShapeError, match=r"context_logit has shape \(2, 9, 16\); expected \(2, 8,"):
        parallel_recurrence(gamma, gamma, gates, z)
    with pytest.raises(ShapeError, match=r"gates has shape \(2, 9, 32\); expected \(2, 9, 48\)"):
        parallel_recurrence(gamma, context, gates[..., :32], z)
    with pytest.raises(ShapeError, match=r"gamma_logit has shape \(2, 8, 16\); expected \(2, 9,"):
        parallel_recurrence(context, context, gates, z)
    with pytest.raises(ShapeError, match=r"context_logit has shape .* expected \(2, 0, 16\)"):
        parallel_recurrence(gamma[:, :1], context[:, :0], gates[:, :1], z[:, :1])
    with pytest.raises(ShapeError, match=r"h0 has shape \(2, 4\); expected \(2, 16\)"):
        parallel_recurrence(gamma, context, gates, z, torch.zeros(2, 4))
    with pytest.raises(ConfigError, match="input_scale='unit'; expected one of"):
        parallel_recurrence(gamma, context, gates, z, input_scale="unit")
