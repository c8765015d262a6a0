import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_rec.ops.memory.chunked import chunked_matrix_memory
from mm_rec.ops.memory.reference import matrix_memory


def inputs(batch, steps, heads, width, banks):
    torch.manual_seed(steps)
    made = [torch.randn(batch, steps, heads, width) for _ in range(3)]
    made.append(torch.randn(batch, banks, heads, width, width))
    return [tensor.double().requires_grad_() for tensor in made]


def assert_chunks_equal_steps(tensors, time_scales, lengths=None):
    steps = tensors[0].shape[1]
    mask = None if lengths is None else torch.arange(steps) < lengths.unsqueeze(-1)
    counts = torch.ones(1, 1) if mask is None else mask
    expected, last = matrix_memory(*tensors, time_scales, mask)
    reads, memory = chunked_matrix_memory(*tensors, time_scales, lengths)
    slope = torch.randn_like(expected) * counts[:, None, :, None, None]
    torch.testing.assert_close(reads * (slope != 0), expected * (slope != 0))
    torch.testing.assert_close(memory, last)
    torch.testing.assert_close(
        torch.autograd.grad((reads * slope).sum() + memory.square().sum(), tensors),
        torch.autograd.grad((expected * slope).sum() + last.square().sum(), tensors),
    )


@settings(max_examples=15, deadline=None)
@given(
    steps=st.integers(1, 200),
    width=st.integers(1, 5),
    time_scales=st.lists(st.floats(0.5, 10_000), min_size=1, max_size=3),
)
def test_chunks_equal_the_recurrence_at_any_length(steps, width, time_scales):
    assert_chunks_equal_steps(inputs(2, steps, 2, width, len(time_scales)), time_scales)


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(0, 150), min_size=3, max_size=3))
def test_padding_neither_writes_nor_decays(lengths):
    assert_chunks_equal_steps(inputs(3, 150, 1, 3, 2), [4.0, 900.0], torch.tensor(lengths))


@pytest.mark.parametrize("steps", [2048, 2500])
def test_more_chunks_than_one_group_holds_change_nothing(steps):
    assert_chunks_equal_steps(inputs(1, steps, 1, 2, 1), [1000.0])


def test_a_fast_decay_over_many_chunks_stays_finite():
    tensors = [tensor.detach().float() for tensor in inputs(1, 2048, 1, 4, 1)]
    reads, memory = chunked_matrix_memory(*tensors, [0.01])
    assert reads.isfinite().all()
    assert memory.isfinite().all()
