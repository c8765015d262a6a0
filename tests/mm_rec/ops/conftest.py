import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch

import mm_rec_scan_cpu
from mm_rec.ops.bias_gelu import bias_gelu
from mm_rec.ops.cumulative_product import cumulative_product
from mm_rec.ops.exact_recurrence import exact_recurrence
from mm_rec.ops.gated_norm import gated_norm
from mm_rec.ops.gated_recurrence import INPUT_SCALES, gated_recurrence
from mm_rec.ops.linear_recurrence import linear_recurrence
from mm_rec.ops.parallel_recurrence import parallel_recurrence
from mm_rec.ops.rms_norm import rms_norm

# Triton runs on a GPU, or anywhere under its interpreter (test_triton.py starts one).
RUNS_TRITON = torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"
KERNELS = ["cpu", "triton"] if RUNS_TRITON else ["cpu"]


@dataclass(frozen=True, kw_only=True)
class Op:
    """An op, and inputs that it is run on.

    settings: what the registered op takes between the inputs and the implementation. variant: of
    the settings, where there are several.
    """

    name: str
    run: Callable[..., object]
    make: Callable[[int, int, int], list[torch.Tensor]]
    settings: tuple = ()
    kernels: tuple[str, ...] = ("cpu", "triton")
    variant: str = ""


def _decays(batch: int, steps: int, width: int) -> torch.Tensor:
    return torch.rand(batch, steps, width).mul(0.6).add(0.4)


def _product_inputs(batch: int, steps: int, width: int) -> list[torch.Tensor]:
    return [_decays(batch, steps, width).unsqueeze(1)]


def _linear_inputs(batch: int, steps: int, width: int) -> list[torch.Tensor]:
    shape = (batch, steps, width)
    return [_decays(*shape), torch.randn(shape), torch.randn(batch, width)]


def _gated_inputs(batch: int, steps: int, width: int) -> list[torch.Tensor]:
    sequences = [3 * torch.randn(batch, steps, width) for _ in range(5)]
    return [*sequences, torch.randn(batch, width), torch.rand(batch, steps) < 0.2]


def _parallel_inputs(batch: int, steps: int, width: int) -> list[torch.Tensor]:
    rows = (batch, 1 + steps)
    gamma, z = (3 * torch.randn(*rows, width) for _ in range(2))
    context, gates = 3 * torch.randn(batch, steps, width), 2 * torch.randn(*rows, 3 * width)
    rest = [torch.randn(batch, width), torch.rand(batch, steps) < 0.2]
    return [gamma, context, gates, z, *rest]


def _exact_inputs(batch: int, steps: int, width: int) -> list[torch.Tensor]:
    sequences = [torch.randn(batch, steps, width) for _ in range(4)]
    weights = [torch.randn(shape) / width**0.5 for shape in ((width, width), width, (width, width))]
    return [*sequences, torch.randn(batch, width), *weights, torch.rand(batch, steps) < 0.2]


def _norm_inputs(batch: int, steps: int, width: int) -> list[torch.Tensor]:
    return [torch.randn(batch, steps, width), torch.randn(width)]


def _gated_norm_inputs(batch: int, steps: int, width: int) -> list[torch.Tensor]:
    return [2 * torch.randn(batch, steps, width) for _ in range(3)]


OPS = [
    Op(name="cumulative_product", run=cumulative_product, make=_product_inputs),
    Op(name="linear_recurrence", run=linear_recurrence, make=_linear_inputs),
    *(
        Op(
            name=run.__name__,
            run=partial(run, input_scale=input_scale),
            make=make,
            settings=(input_scale,),
            variant=input_scale,
        )
        for run, make in (
            (gated_recurrence, _gated_inputs),
            (parallel_recurrence, _parallel_inputs),
        )
        for input_scale in INPUT_SCALES
    ),
    Op(name="exact_recurrence", run=exact_recurrence, make=_exact_inputs),
    Op(
        name="rms_norm",
        run=partial(rms_norm, eps=0.5),
        make=_norm_inputs,
        settings=(0.5, torch.float32),
        kernels=("cpu",),
    ),
    Op(
        name="gated_norm",
        run=partial(gated_norm, eps=0.5),
        make=_gated_norm_inputs,
        settings=(0.5,),
        kernels=("cpu",),
    ),
    Op(name="bias_gelu", run=bias_gelu, make=_norm_inputs, kernels=("cpu",)),
]


@pytest.fixture(params=OPS, ids=lambda op: "-".join(filter(None, [op.name, op.variant])))
def op(request):
    torch.manual_seed(0)
    return request.param


@pytest.fixture(params=KERNELS)
def kernel(request, op):
    if request.param not in op.kernels:
        pytest.skip(f"{op.name} has no {request.param} kernel")
    return request.param


@pytest.fixture
def device(kernel):
    return "cuda" if kernel == "triton" and torch.cuda.is_available() else "cpu"


@pytest.fixture(params=["cpu", "reference"])
def cpu_implementation(request):
    return request.param


def _convert(value, dtype, device):
    if not value.is_floating_point():
        return value.to(device)
    return value.detach().to(device, dtype).requires_grad_()


def _run_with_gradients(run, inputs, dtype=torch.float32, device="cpu", **options):
    inputs = [_convert(value, dtype, device) for value in inputs]
    outputs = run(*inputs, **options)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    # Weights that every dtype holds exactly, so that all see the same loss.
    weights = [torch.arange(o.numel(), device=o.device) % 7 - 2 for o in outputs]
    loss = sum((o * w.view(o.shape)).double().sum() for o, w in zip(outputs, weights, strict=True))
    wanted = [value for value in inputs if value.requires_grad]
    gradients = torch.autograd.grad(loss, wanted)
    return [value.detach().cpu() for value in (*outputs, *gradients)]


@pytest.fixture
def run_with_gradients():
    """Outputs and gradients of an op, as a flat list on the CPU."""
    return _run_with_gradients


@pytest.fixture
def truth():
    """The same in float64, from the reference."""
    return partial(_run_with_gradients, dtype=torch.float64, implementation="reference")


@pytest.fixture
def assert_close():
    """Hold values to the truth, relative to the largest of each: sums cancel in single ones."""

    def check(actual, expected, tolerance=1e-5):
        assert len(actual) == len(expected)
        for value, true in zip(actual, expected, strict=True):
            error = (value.double() - true.double()).abs().max()
            assert error <= tolerance * true.double().abs().max().clamp_min(1e-30)

    return check


@pytest.fixture
def forced_instruction_set():
    """A function that forces an instruction set; the one in use comes back in the end."""
    before = mm_rec_scan_cpu.instruction_set()
    yield mm_rec_scan_cpu.set_instruction_set
    mm_rec_scan_cpu.set_instruction_set(before)


@pytest.fixture
def thread_count():
    """A function that sets torch's threads; the number before comes back in the end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
