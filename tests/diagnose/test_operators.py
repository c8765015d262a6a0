"""Bytes that operators move at the least; n is that of one tensor of SIZE float32 numbers."""

import pytest
import torch

from ivme.diagnose.operators import OperatorWatch
from ivme.diagnose.phases import PhaseWatch

SIZE = 1000
N = 4 * SIZE


def moved(run):
    """Return the bytes of all operators that `run` calls."""
    with OperatorWatch(PhaseWatch()) as watch:
        run()
    return sum(work.moved_bytes for work in watch.operators.values())


@pytest.mark.parametrize(
    ("run", "tensors"),
    [
        (lambda a, b: a + b, 3),
        (lambda a, b: a.add_(b), 3),
        (lambda a, b: a.add_(a), 2),
        (lambda a, b: a.mul_(2.0), 2),
        (lambda a, b: a.copy_(b), 2),
        (lambda a, b: a.fill_(1.0), 1),
        (lambda a, b: a.zero_(), 1),
        (lambda a, b: a.normal_(), 1),
        (lambda a, b: torch.mul(b, 2.0, out=a), 2),
        (lambda a, b: a.unsqueeze_(0), 0),
        (lambda a, b: torch._foreach_zero_([a, b]), 2),
        (lambda a, b: torch._foreach_add_([a, b], 1.0), 4),
    ],
)
def test_operators_that_change_a_tensor_move_what_they_read_and_what_they_write(run, tensors):
    a, b = torch.rand(SIZE), torch.rand(SIZE)
    assert moved(lambda: run(a, b)) == tensors * N


def test_a_fused_optimizer_reads_gradients_and_does_not_write_them():
    weights = torch.nn.Parameter(torch.rand(SIZE))
    optimizer = torch.optim.AdamW([weights], fused=True)
    weights.grad = torch.rand(SIZE)
    optimizer.step()
    assert moved(optimizer.step) == pytest.approx(7 * N, abs=12)  # and counts the step


def test_a_lookup_moves_the_rows_that_it_takes_and_its_gradient_the_table():
    table = torch.rand(50, SIZE, requires_grad=True)
    rows = torch.tensor([1, 2, 1])
    with OperatorWatch(PhaseWatch()) as watch:
        torch.nn.functional.embedding(rows, table).sum().backward()
    bytes_of = {name: work.moved_bytes for (_, name), work in watch.operators.items()}
    assert bytes_of["aten::embedding"] == 2 * 3 * N
    # It reads the indices, and of the gradient of a sum the one number that it is made of.
    assert bytes_of["aten::embedding_dense_backward"] == 50 * N + 3 * 8 + 4
