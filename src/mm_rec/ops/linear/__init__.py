"""y = x W^T + b on whichever library is faster here, as a torch op with gradients.

torch sends float32 products on CPUs to MKL, which leaves half of an AMD processor's AVX-512 idle;
oneDNN, which torch carries too, does not. There this op takes oneDNN, everywhere else torch's own.
"""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from mm_rec.errors import ImplementationError
from mm_rec.ops.direct import is_watched, with_gradient
from mm_rec.ops.dispatch import load

IMPLEMENTATIONS = ("reference", "cpu")


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, implementation: str | None = None
) -> Tensor:
    """Return x weight^T + bias.

    x: [..., K]; weight: [M, K]; bias: [M] or None; any strides. implementation: "reference" is
    torch's own, "cpu" is oneDNN on float32 CPU tensors; None takes the faster one, see `is_faster`.

    Raises:
        ImplementationError: "cpu" is asked for other tensors, or of a torch without oneDNN.
    """
    if _choose(implementation, x, weight) == "reference":
        return torch.nn.functional.linear(x, weight, bias)
    return _run(x, weight, bias)


@torch.compiler.assume_constant_result
def is_faster() -> bool:
    """Return whether float32 products run faster in oneDNN than in torch's own library here.

    True on AMD processors with AVX-512: measured 240 against 105 GFLOP/s a core on Zen 5.
    """
    return _is_amd_with_avx512()


@cache
def _is_amd_with_avx512() -> bool:
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkl.is_available():
        return False
    try:
        processor = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "AuthenticAMD" in processor and " avx512f " in processor


def _choose(requested: str | None, x: Tensor, weight: Tensor) -> str:
    is_float32 = x.dtype == weight.dtype == torch.float32
    fits = is_float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if requested is None:
        return "cpu" if fits and is_faster() else "reference"
    if requested not in IMPLEMENTATIONS:
        raise ImplementationError(
            f"implementation={requested!r}; expected one of {', '.join(IMPLEMENTATIONS)}, or None."
        )
    if requested == "cpu" and not (fits and torch.backends.mkldnn.is_available()):
        raise ImplementationError(
            f"implementation='cpu' takes float32 CPU tensors outside autocast, not {x.dtype} on "
            f"{x.device}, and a torch with oneDNN; use 'reference', or pass None."
        )
    return requested


def _compute(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return load("linear", "cpu").forward(x, weight, bias)


_forward = torch.library.custom_op("mm_rec::linear", _compute, mutates_args=())


@_forward.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], len(weight)))


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    x, weight, bias = inputs
    ctx.save_for_backward(x, weight)
    ctx.has_bias = bias is not None


def _gradients(ctx, gradient):  # type: ignore[no-untyped-def]
    x, weight = ctx.saved_tensors
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad
    rows = gradient.reshape(-1, gradient.shape[-1])
    return (
        _run(gradient, weight.t(), None) if needs_x else None,
        # A strided x (a slice of a wider product) transposed would fall to oneDNN's slow reference.
        _weight_gradient(rows, x.reshape(-1, x.shape[-1]).contiguous()) if needs_weight else None,
        _sum_rows(rows) if ctx.has_bias and needs_bias else None,
    )


def _weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """Return gradient^T x, [M, K]; gradient: [N, M], x: [N, K].

    Of the two, oneDNN copies the one that comes first to turn it, at 0.4 to 0.6 ns an element: the
    narrower one. At N 3072, M 448 and K 112 that is 220 GFLOP/s in place of 147.
    """
    if gradient.shape[1] <= x.shape[1]:
        return _run(gradient.t(), x.t(), None)
    return _run(x.t(), gradient.t(), None).t()


def _sum_rows(rows: Tensor) -> Tensor:
    """Return the sum of the rows [N, M]; by the kernel where nothing else would be recorded."""
    if torch.is_grad_enabled() or is_watched((rows,)):
        return rows.sum(0)
    return load("linear", "cpu").sum_rows(rows)


_run = with_gradient(_forward, _compute, _save, _gradients)
