"""Times the exact recurrence against a TorchScript loop, and against its products alone.

Run `python benchmarks/exact_recurrence.py --output exact.json`. The kernel is first held to the
float64 reference; if it fails, nothing is timed. Variants take turns in random order; figures are
medians of ratios within one round, with their quartiles. "Products" are what the recurrence would
cost if time did not matter: one matrix product over all steps forward, one for the gradient of the
states, one for those of the weights.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import mm_rec_scan_cpu
from mm_rec.ops.exact_recurrence import exact_recurrence

SHAPES = [(8, 512, 256), (8, 256, 96), (1, 512, 256), (32, 128, 512)]
TARGETS = {"torchscript": 20.0, "products": 0.4}  # for the first shape


def main() -> int:
    arguments = _parser().parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    if not _agrees():
        print("Not timed: the kernel differs from the float64 reference.", file=sys.stderr)
        return 1
    samples = {}
    for shape in SHAPES:
        rounds = arguments.rounds if shape == SHAPES[0] else max(3, arguments.rounds // 3)
        samples[str(shape)] = times = _interleave(_variants(shape), rounds)
        _print(shape, times)
    if arguments.output:
        _write(arguments.output, samples)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="times that each variant runs")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="file for all raw samples, as JSON")
    return parser


def _inputs(shape: tuple[int, int, int]) -> list[torch.Tensor]:
    batch, _, width = shape
    weights = [torch.randn(s) / width**0.5 for s in ((width, width), width, (width, width))]
    return [*(torch.randn(shape) for _ in range(4)), torch.randn(batch, width), *weights]


def _with_gradients(run: Callable, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    inputs = [value.detach().requires_grad_() for value in inputs]
    h, last = run(*inputs)
    return [h, last, *torch.autograd.grad((h, last), inputs, (h.detach(), last.detach()))]


def _agrees() -> bool:
    inputs = _inputs((5, 60, 70))
    actual = _with_gradients(exact_recurrence, inputs)
    loop = _with_gradients(torchscript_loop(), inputs)
    expected = _with_gradients(exact_recurrence, [value.double() for value in inputs])
    return all(
        max((a - e).abs().max(), (s - e).abs().max()) <= 1e-5 * e.abs().max()
        for a, s, e in zip(actual, loop, expected, strict=True)
    )


def _step_by_step(
    gamma_logit: torch.Tensor,
    context_logit: torch.Tensor,
    mdi_logit: torch.Tensor,
    z: torch.Tensor,
    h0: torch.Tensor,
    gate_weight: torch.Tensor,
    gate_bias: torch.Tensor,
    mdi_weight: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    gamma = torch.sigmoid(gamma_logit) * torch.sigmoid(context_logit)
    forget = 1 - gamma.clamp(1e-6, 1 - 1e-6)
    h = h0
    states: list[torch.Tensor] = []
    for t in range(z.size(1)):
        gate = torch.sigmoid(torch.nn.functional.linear(h, gate_weight, gate_bias))
        mdi = torch.sigmoid(mdi_logit[:, t] + torch.nn.functional.linear(h, mdi_weight))
        update = forget[:, t] * mdi
        h = h + update * (gate * z[:, t] - h)
        states.append(h)
    return torch.stack(states, dim=1), h


def torchscript_loop() -> Callable:
    return torch.jit.script(_step_by_step)


def _variants(shape: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    batch, steps, width = shape
    inputs, loop = _inputs(shape), torchscript_loop()
    states, both = torch.randn(batch * steps, width), torch.randn(2 * width, width)
    gates = torch.randn(batch * steps, 2 * width)

    def products() -> list[torch.Tensor]:
        return [states @ both.t(), gates @ both, gates.t() @ states]

    def forward() -> object:
        with torch.no_grad():
            return exact_recurrence(*inputs)

    return {
        "kernel": lambda: _with_gradients(exact_recurrence, inputs),
        "torchscript": lambda: _with_gradients(loop, inputs),
        "products": products,
        "kernel, forward": forward,
        "products, forward": lambda: states @ both.t(),
    }


def _interleave(variants: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    for run in variants.values():
        for _ in range(3):  # TorchScript profiles and compiles in its first calls
            run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants)
    shuffler = random.Random(0)
    for _ in range(rounds):
        shuffler.shuffle(order)
        for name in order:
            start = time.perf_counter()
            variants[name]()
            times[name].append(time.perf_counter() - start)
    return times


def _print(shape: tuple[int, int, int], times: dict[str, list[float]]) -> None:
    print(f"batch {shape[0]}, time {shape[1]}, width {shape[2]}, {torch.get_num_threads()} threads")
    for name, seconds in times.items():
        print(f"  {name:<18} {1e3 * statistics.median(seconds):9.2f} ms")
    pairs = [("torchscript", "kernel"), ("products", "kernel")]
    for baseline, variant in [*pairs, ("products, forward", "kernel, forward")]:
        ratios = [b / v for b, v in zip(times[baseline], times[variant], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        target = TARGETS.get(baseline) if shape == SHAPES[0] else None
        verdict = "" if target is None else f"  target {target:g}: {_verdict(middle, target)}"
        print(f"  {variant} over {baseline}: {middle:.2f} ({low:.2f} to {high:.2f}){verdict}")


def _verdict(ratio: float, target: float) -> str:
    return "met" if ratio >= target else "missed"


def _write(path: Path, samples: dict[str, dict[str, list[float]]]) -> None:
    record = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "instruction_set": mm_rec_scan_cpu.instruction_set(),
        "seconds": samples,
    }
    path.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    sys.exit(main())
