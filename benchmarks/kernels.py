"""Times the memory-bound kernels of MM-Rec against torch and against a copy of as many bytes.

Run `python benchmarks/kernels.py --output kernels.json`. Every kernel is first held to the float64
reference; a kernel that fails is not timed. Variants take turns in random order, so that drift of
the machine meets all of them; figures are medians of ratios within one round, beside the ratio of
the fastest samples, which a busy machine disturbs least.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import mm_rec_scan_cpu
from mm_rec.core.allocation import keep_freed_memory
from mm_rec.ops.cumulative_product import cumulative_product
from mm_rec.ops.gated_recurrence import cpu as gated_cpu
from mm_rec.ops.gated_recurrence import gated_recurrence
from mm_rec.ops.linear_recurrence import linear_recurrence

PRODUCT_SHAPE = (2, 8, 4096, 64)
RECURRENCE_SHAPES = [(8, 512, 256), (2, 8192, 512)]
CALLS_BYTES = 256 << 20  # moved by the calls of one sample, so that each lasts milliseconds


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Something to time, and the bytes that one call must move at least."""

    name: str
    run: Callable[[], object]
    bytes_moved: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A figure and what it is held to: `variant` is this many times as fast as `baseline`."""

    figure: str
    variant: str
    baseline: str
    per_byte: bool  # compare bytes a second instead of calls a second
    target: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """A comparison as it came out."""

    figure: str
    ratio: float
    low: float  # quartiles over the rounds
    high: float
    fastest: float  # ratio of the fastest samples
    target: float | None


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    keep_freed_memory()  # else whoever allocates fresh pages first pays for the others
    failures = _failed_gates()
    if failures:
        print(f"Not timed: {', '.join(failures)} differ from the reference.", file=sys.stderr)
        return 1
    results: list[Result] = []
    samples: dict[str, dict[str, list[float]]] = {}
    for title, variants, comparisons in (_product_case(), *_recurrence_cases()):
        times = _interleave(variants, arguments.rounds)
        samples[title] = times
        results += [_compare(title, variants, times, comparison) for comparison in comparisons]
    _print(results)
    if arguments.output:
        _write(arguments.output, results, samples)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="times that each variant runs")
    parser.add_argument("--threads", type=int, help="threads of torch and of the kernels")
    parser.add_argument("--output", type=Path, help="file for all raw samples, as JSON")
    return parser


def _failed_gates() -> list[str]:
    shape = (2, 300, 100)
    product = [torch.rand(2, 1, 300, 100).mul(0.1).add(0.9)]
    linear = [torch.rand(shape), torch.randn(shape)]
    gated = [torch.randn(shape) for _ in range(5)]
    gates = [
        ("cumulative product", cumulative_product, product),
        ("linear recurrence", linear_recurrence, linear),
        ("gated recurrence", gated_recurrence, gated),
    ]
    return [name for name, run, inputs in gates if not _agrees(run, inputs)]


def _agrees(run: Callable, inputs: list[torch.Tensor]) -> bool:
    actual = _with_gradients(run, inputs)
    expected = _with_gradients(run, [value.double() for value in inputs])
    pairs = zip(actual, expected, strict=True)
    return all((a - e).abs().max() <= 1e-5 * e.abs().max() for a, e in pairs)


def _with_gradients(run: Callable, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    inputs = [value.clone().requires_grad_() for value in inputs]
    output = run(*inputs)
    first = output[0] if isinstance(output, tuple) else output
    return [first.detach(), *torch.autograd.grad(first.sum(), inputs)]


def _copy(name: str, bytes_moved: int) -> Variant:
    source = torch.rand(bytes_moved // 8)
    target = torch.empty_like(source)
    return Variant(name=name, run=lambda: target.copy_(source), bytes_moved=bytes_moved)


def _product_case() -> tuple[str, list[Variant], list[Comparison]]:
    gamma = torch.rand(PRODUCT_SHAPE).mul(0.1).add(0.9)
    product = torch.empty_like(gamma)
    rows, out = gamma.flatten(0, 1), product.flatten(0, 1)
    moved = 8 * gamma.numel()

    def kernel() -> None:
        # Into memory that is there, as the copy: fresh pages would cost both the same.
        mm_rec_scan_cpu._native.cumulative_product(rows, out, torch.get_num_threads())

    runs = {
        "kernel": kernel,
        "whole call": lambda: mm_rec_scan_cpu.associative_scan_exponential_cpu(gamma),
        "torch.cumprod": lambda: torch.cumprod(gamma, 2, out=product),
        "exp(cumsum(log))": lambda: gamma.log().cumsum(2).exp(),
    }
    variants = [Variant(name=name, run=run, bytes_moved=moved) for name, run in runs.items()]
    comparisons = [
        _speed("kernel", "torch.cumprod", 6),
        _speed("kernel", "exp(cumsum(log))", 40),
        _speed("whole call", "torch.cumprod", None),
        _bandwidth("kernel", "copy", 0.85),
    ]
    title = f"cumulative product {list(PRODUCT_SHAPE)} fp32"
    return title, [*variants, _copy("copy", moved)], comparisons


def _recurrence_cases() -> list[tuple[str, list[Variant], list[Comparison]]]:
    return [_linear_case(shape) for shape in RECURRENCE_SHAPES] + [
        _gated_case(shape) for shape in RECURRENCE_SHAPES
    ]


def _linear_case(shape: tuple[int, int, int]) -> tuple[str, list[Variant], list[Comparison]]:
    variants = [
        Variant(
            name=f"{name} {direction}",
            run=run,
            bytes_moved=sequences * _bytes(shape, dtype),
        )
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        for direction, sequences, run in _linear_runs(shape, dtype)
    ]
    variants.append(_copy("copy", 8 * _bytes(shape, torch.float32)))
    comparisons = [
        _bandwidth("fp32 both", "copy", 0.7),
        _bandwidth("fp32 forward", "copy", None),
        _bandwidth("fp32 backward", "copy", None),
        _speed("bf16 both", "fp32 both", 1.6),
    ]
    return f"linear recurrence {list(shape)}", variants, comparisons


def _linear_runs(
    shape: tuple[int, int, int], dtype: torch.dtype
) -> list[tuple[str, int, Callable[[], object]]]:
    a, b, h_gradient = (torch.rand(shape).to(dtype) for _ in range(3))
    h, a_gradient, b_gradient = (torch.empty_like(a) for _ in range(3))
    state = torch.empty(shape[0], shape[2])

    def forward() -> None:
        threads = torch.get_num_threads()
        mm_rec_scan_cpu._native.linear_recurrence(a, b, None, h, state, threads)

    def backward() -> None:
        mm_rec_scan_cpu._native.linear_recurrence_backward(
            h_gradient, None, a, h, None, a_gradient, b_gradient, state, torch.get_num_threads()
        )

    def both() -> None:
        forward()
        backward()

    return [("forward", 3, forward), ("backward", 5, backward), ("both", 8, both)]


def _gated_case(shape: tuple[int, int, int]) -> tuple[str, list[Variant], list[Comparison]]:
    variants = [_copy("copy", 18 * _bytes(shape, torch.float32))]
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        inputs = tuple(torch.randn(shape).to(dtype) for _ in range(5))
        h, _ = gated_cpu.forward(inputs, None, None)
        # 6 sequences forward, 12 backward: gates are computed again, not stored.
        variants += [
            Variant(
                name=f"{name} fused",
                run=lambda inputs=inputs, h=h: _fused(inputs, h),
                bytes_moved=18 * _bytes(shape, dtype),
            ),
            Variant(
                name=f"{name} unfused",
                run=lambda inputs=inputs, h=h: _unfused(inputs, h),
                bytes_moved=18 * _bytes(shape, dtype),
            ),
        ]
    comparisons = [
        _speed("fp32 fused", "fp32 unfused", None),
        _speed("bf16 fused", "bf16 unfused", None),
        _speed("bf16 fused", "fp32 fused", 1.6),
        _bandwidth("fp32 fused", "copy", None),
    ]
    return f"gated recurrence {list(shape)}, forward + backward", variants, comparisons


def _fused(inputs: tuple[torch.Tensor, ...], h_gradient: torch.Tensor) -> None:
    h, _ = gated_cpu.forward(inputs, None, None)
    gated_cpu.backward(h_gradient, None, inputs, None, None, h)


def _unfused(inputs: tuple[torch.Tensor, ...], h_gradient: torch.Tensor) -> None:
    """Run gates by torch's operators and the recurrence by its kernel, with autograd."""
    x, y, n, m, z = (value.detach().requires_grad_() for value in inputs)
    gamma = (torch.sigmoid(x) * torch.sigmoid(y)).clamp(1e-6, 1 - 1e-6)
    weight = (1 - gamma) * torch.sigmoid(m)
    h, _ = linear_recurrence(1 - weight, weight * torch.sigmoid(n) * z)
    torch.autograd.grad(h, (x, y, n, m, z), h_gradient)


def _bytes(shape: tuple[int, int, int], dtype: torch.dtype) -> int:
    return shape[0] * shape[1] * shape[2] * dtype.itemsize


def _speed(variant: str, baseline: str, target: float | None) -> Comparison:
    figure = f"{variant}: times as fast as {baseline}"
    return Comparison(
        figure=figure, variant=variant, baseline=baseline, per_byte=False, target=target
    )


def _bandwidth(variant: str, baseline: str, target: float | None) -> Comparison:
    figure = f"{variant}: share of the bandwidth of a {baseline}"
    return Comparison(
        figure=figure, variant=variant, baseline=baseline, per_byte=True, target=target
    )


def _interleave(variants: list[Variant], rounds: int) -> dict[str, list[float]]:
    """Return seconds a call, a sample a round; the first round warms up and is left out."""
    order = random.Random(0)
    times: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for _ in range(rounds + 1):
        for variant in order.sample(variants, len(variants)):
            times[variant.name].append(_time(variant))
    return {name: values[1:] for name, values in times.items()}


def _time(variant: Variant) -> float:
    calls = max(1, CALLS_BYTES // variant.bytes_moved // 8)
    start = time.perf_counter()
    for _ in range(calls):
        variant.run()
    return (time.perf_counter() - start) / calls


def _compare(
    title: str, variants: list[Variant], times: dict[str, list[float]], comparison: Comparison
) -> Result:
    moved = {variant.name: variant.bytes_moved for variant in variants}
    scale = moved[comparison.variant] / moved[comparison.baseline] if comparison.per_byte else 1.0
    baselines, samples = times[comparison.baseline], times[comparison.variant]
    ratios = [scale * before / after for before, after in zip(baselines, samples, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Result(
        figure=f"{title}: {comparison.figure}",
        ratio=middle,
        low=low,
        high=high,
        fastest=scale * min(baselines) / min(samples),
        target=comparison.target,
    )


def _print(results: list[Result]) -> None:
    width = max(len(result.figure) for result in results)
    print(f"{'figure':{width}}  median  quartiles      fastest  target")
    for result in results:
        wanted = "" if result.target is None else f"{result.target:g}"
        verdict = "" if result.target is None else "  met" if _is_met(result) else "  missed"
        quartiles = f"{result.low:.2f}-{result.high:.2f}"
        columns = f"{result.ratio:6.2f}  {quartiles:13}  {result.fastest:7.2f}  {wanted}{verdict}"
        print(f"{result.figure:{width}}  {columns}")


def _is_met(result: Result) -> bool:
    return result.target is not None and result.ratio >= result.target


def _write(path: Path, results: list[Result], samples: dict[str, dict[str, list[float]]]) -> None:
    record = {
        "command": sys.argv,
        "machine": {"processor": platform.processor(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "instruction_set": mm_rec_scan_cpu.instruction_set(),
        "results": [asdict(result) for result in results],
        "samples_s": samples,
    }
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
