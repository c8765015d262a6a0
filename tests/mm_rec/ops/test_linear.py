import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_rec.errors import ImplementationError
from mm_rec.ops import linear as package
from mm_rec.ops.linear import linear

TOLERANCE = 1e-5  # relative to the largest value: float32 sums of some hundred products


def inputs(*shape, width=7, dtype=torch.float32):
    torch.manual_seed(sum(shape))
    made = torch.randn(*shape), torch.randn(width, shape[-1]), torch.randn(width)
    return [one.to(dtype).requires_grad_() for one in made]


def close(actual, expected):
    error = (actual.double() - expected.double()).abs().max()
    assert error <= TOLERANCE * expected.double().abs().max()


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(1, 70),
    depth=st.integers(1, 70),
    width=st.integers(1, 70),
    has_bias=st.booleans(),
    is_strided=st.booleans(),
)
def test_outputs_and_gradients_agree_with_float64(rows, depth, width, has_bias, is_strided):
    x, weight, bias = inputs(2, rows, depth, width=width)
    bias = bias if has_bias else None
    narrow = torch.cat([x, x], -1)[..., :depth] if is_strided else x
    out = linear(narrow, weight, bias, implementation="cpu")
    slope = torch.randn_like(out)
    found = torch.autograd.grad(out, [x, weight, *([bias] if has_bias else [])], slope)
    doubles = [one.detach().double().requires_grad_() for one in (x, weight)]
    true_bias = bias.detach().double().requires_grad_() if has_bias else None
    true = linear(*doubles, true_bias, implementation="reference")
    wanted = [*doubles, *([true_bias] if has_bias else [])]
    expected = torch.autograd.grad(true, wanted, slope.double())
    close(out.detach(), true.detach())
    for one, other in zip(found, expected, strict=True):
        close(one, other)


def test_the_op_is_registered_as_torch_wants_it():
    x, weight, bias = inputs(5, 9)
    torch.library.opcheck(torch.ops.mm_rec.linear.default, (x, weight, bias))
    torch.library.opcheck(torch.ops.mm_rec.linear.default, (x, weight, None))


def test_autocast_gets_torchs_own_products_in_bfloat16():
    x, weight, bias = inputs(5, 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_torchs_own_and_refused_by_name(dtype):
    x, weight, bias = inputs(5, 9, dtype=dtype)
    assert torch.equal(linear(x, weight, bias), torch.nn.functional.linear(x, weight, bias))
    with pytest.raises(ImplementationError, match="takes float32 CPU tensors outside autocast"):
        linear(x, weight, bias, implementation="cpu")


def test_an_unknown_implementation_is_refused_with_those_there_are():
    x, weight, bias = inputs(5, 9)
    with pytest.raises(ImplementationError, match="expected one of reference, cpu, or None"):
        linear(x, weight, bias, implementation="triton")


@pytest.mark.parametrize("is_faster", [True, False])
def test_the_choice_follows_the_processor(monkeypatch, is_faster):
    chosen = []
    monkeypatch.setattr(package, "is_faster", lambda: is_faster)
    monkeypatch.setattr(package, "load", lambda op, name: chosen.append(name) or _Spy)
    x, weight, bias = (one.detach() for one in inputs(5, 9))
    linear(x, weight, bias)
    assert chosen == (["cpu"] if is_faster else [])


class _Spy:
    @staticmethod
    def forward(x, weight, bias):
        return x.new_zeros(len(x), len(weight))
