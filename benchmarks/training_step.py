"""Times MM-Rec's training step: against loops over time, compiled, and against matrix products.

Run `python benchmarks/training_step.py --output training_step.json`. There are two references with
the same weights. In the first a TorchScript loop over time computes the short-term state, and all
else is MM-Rec's. In the second nothing is: the memory too is such a loop, and products, norms, GELU
and cross-entropy are torch.nn.functional's. First the loss and every gradient are held to those of
both; if they differ, nothing is timed. All comparisons are paired (`ivme.measure.compare`). A step
is the forward and backward pass and AdamW, at 6 x parameters x tokens floating-point operations;
the rate of matrix products is that of the faster of torch's own library and oneDNN, timed in turn
with the step.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, gelu, linear, rms_norm, silu

from ivme.hardware.inventory import read_inventory
from ivme.measure.compare import ComparePlan, compare
from ivme.measure.records import Comparison, new_record, save_record
from mm_rec import model as models
from mm_rec.blocks import memory_attention, mm_rec_block
from mm_rec.configuration import preset_config
from mm_rec.core import linear as layers
from mm_rec.core import norm, recurrence
from mm_rec.core.allocation import keep_freed_memory
from mm_rec.model import MMRecForCausalLM
from mm_rec.ops.parallel_recurrence.reference import unpack

TOLERANCE = 1e-4  # of losses and gradients, relative to the largest: fp32 sums in another order
LOOP_TARGET, PRODUCT_TARGET, LENGTH_TARGET = 10.0, 0.5, 1.15
CHARACTER_TARGET = 57_000  # tokens a second on two cores, bfloat16
PRODUCT_SIZE = 1024
TOKENS = 16_384  # of a step whose length grows
STEP, COMPILED = "step", "compiled"
LOOP, PLAIN = "short-term state in a loop", "plain PyTorch"

# A module, a name in it, and what stands there instead.
Replacement = tuple[ModuleType, str, Callable]


@dataclass(kw_only=True)
class Training:
    """A model, its optimizer and one batch."""

    preset: str
    shape: tuple[int, int]
    is_bfloat16: bool = False

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.model = MMRecForCausalLM(preset_config(self.preset))
        self.run: Callable = self.model
        self.ids = torch.randint(self.model.config.vocab_size, self.shape)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)

    @property
    def tokens(self) -> int:
        """Tokens of one step."""
        return self.ids.numel()

    @property
    def operations(self) -> float:
        """Floating-point operations of one step: 6 for each parameter and token."""
        return 6.0 * sum(p.numel() for p in self.model.parameters()) * self.tokens

    def backward(self) -> Tensor:
        """Return the loss, with its gradients added to the parameters."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.is_bfloat16):
            loss = self.run(self.ids, labels=self.ids).loss
        loss.backward()
        return loss

    def step(self) -> None:
        """Take one whole step."""
        self.optimizer.zero_grad(set_to_none=True)
        self.backward()
        self.optimizer.step()


def main() -> int:
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    for name, reference in REFERENCES.items():
        difference = _difference(reference)
        print(f"loss and gradients against {name}: {difference:.1e}, at most {TOLERANCE:.0e}")
        if not difference <= TOLERANCE:
            print(f"Not timed: the model differs from {name}.", file=sys.stderr)
            return 1
    plan = ComparePlan(budget_s=6.0 if options.quick else 60.0, min_visit_s=0.0, warmup_calls=2)
    comparisons = [
        *_against_references(plan),
        *_against_products(plan),
        *_characters(plan),
        *_lengths(plan),
    ]
    settings: dict = {"threads": options.threads, "quick": options.quick}
    if not options.skip_compile:
        compiled, settings["compile_s"] = _compiled(plan)
        comparisons += compiled
    if options.output:
        machine = asdict(read_inventory())
        record = new_record("compare", sys.argv, machine, settings, comparisons=comparisons)
        save_record(record, options.output)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="6 s for each comparison, not 60")
    parser.add_argument("--skip-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--output", type=Path, help="file for the record, as JSON")
    return parser


def _step_by_step(
    gamma_logit: Tensor,
    context_logit: Tensor,
    input_gate_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor,
) -> tuple[Tensor, Tensor]:
    h, states = h0, []
    for t in range(z.size(1)):
        gamma = torch.sigmoid(gamma_logit[:, t]) * torch.sigmoid(context_logit[:, t])
        weight = (1 - gamma.clamp(1e-6, 1 - 1e-6)) * torch.sigmoid(mdi_logit[:, t])
        h = h + weight * (torch.sigmoid(input_gate_logit[:, t]) * z[:, t] - h)
        states.append(h)
    return torch.stack(states, dim=1), h


def _memory_step_by_step(
    query: Tensor,
    priority_logit: Tensor,
    key: Tensor,
    first_key: Tensor,
    value: Tensor,
    memory: Tensor,
    decay: Tensor,
) -> tuple[Tensor, Tensor]:
    batch, _, heads, width, _ = memory.shape
    before, reads = first_key, []
    for t in range(query.size(1)):
        write_key = (torch.sigmoid(priority_logit[:, t]) * before).view(batch, 1, heads, width, 1)
        memory = decay * memory + write_key * value[:, t].view(batch, 1, heads, 1, width)
        reads.append((query[:, t].view(batch, 1, heads, 1, width) @ memory).squeeze(-2))
        before = key[:, t]
    read = torch.rms_norm(torch.stack(reads, dim=2), [width], None, float(width))
    return read.flatten(3), memory


@contextmanager
def _with_functions(*replacements: Replacement) -> Iterator[None]:
    """Let models run other functions; an error if one of them is never called."""
    called = set()

    def noting(name: str, function: Callable) -> Callable:
        def run(*inputs: object, **options: object) -> object:
            called.add(name)
            return function(*inputs, **options)

        return run

    with ExitStack() as stack:
        for module, name, function in replacements:
            stack.enter_context(patch.object(module, name, noting(name, function)))
        yield
    missing = {name for _, name, _ in replacements} - called
    if missing:
        raise RuntimeError(f"{', '.join(sorted(missing))} never ran: the model does not call it.")


@cache
def _short_term_loop() -> Replacement:
    loop = torch.jit.script(_step_by_step)

    def run(*inputs: Tensor, input_scale: str) -> tuple[Tensor, Tensor]:
        if input_scale != "convex":
            raise ValueError(f"input_scale={input_scale!r}; the loop computes 'convex' alone")
        *packed, h0, _ = inputs  # no padding here
        gamma, context, input_gate, mdi_input, z, mdi_state = unpack(tuple(packed))
        return loop(gamma, context, input_gate, mdi_input + mdi_state, z, h0)

    return recurrence, "parallel_recurrence", run


@cache
def _memory_loop() -> Replacement:
    loop = torch.jit.script(_memory_step_by_step)

    def run(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        *tensors, time_scales, _ = inputs
        decay = torch.exp(-1 / torch.tensor(time_scales))
        return loop(*tensors, decay.view(-1, 1, 1, 1))

    return memory_attention, "chunked_memory", run


def _torch_functions() -> list[Replacement]:
    """Return what torch.nn.functional has in place of the kernels on rows and of the products."""

    def head_loss(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(linear(hidden, weight), labels, reduction="sum")

    def gate(h: Tensor, context: Tensor, e: Tensor, eps: float) -> Tensor:
        return rms_norm(h + context, h.shape[-1:], eps=eps) * silu(e)

    return [
        (layers, "linear", linear),
        (recurrence, "linear", linear),
        (norm, "rms_norm", lambda x, weight, eps: rms_norm(x, x.shape[-1:], weight, eps)),
        (layers, "bias_gelu", lambda x, bias: gelu(x + bias)),
        (mm_rec_block, "gated_norm", gate),
        (models, "linear_cross_entropy", head_loss),
    ]


def _with_loop() -> AbstractContextManager[None]:
    return _with_functions(_short_term_loop())


def _without_kernels() -> AbstractContextManager[None]:
    return _with_functions(_short_term_loop(), _memory_loop(), *_torch_functions())


REFERENCES = {LOOP: _with_loop, PLAIN: _without_kernels}


def _difference(reference: Callable[[], AbstractContextManager[None]]) -> float:
    """Return the largest difference of loss and gradients, relative to the largest of each."""
    training = Training(preset="mm-rec-2m", shape=(2, 96))

    def results() -> list[Tensor]:
        training.optimizer.zero_grad(set_to_none=True)
        loss = training.backward().detach()
        return [loss, *(p.grad.clone() for p in training.model.parameters() if p.grad is not None)]

    own = results()
    with reference():
        others = results()
    return max(
        float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
        for a, b in zip(own, others, strict=True)
    )


def _against_references(plan: ComparePlan) -> list[Comparison]:
    training = Training(preset="mm-rec-2m", shape=(2, 256))

    def with_functions(name: str) -> Callable[[], None]:
        def step() -> None:
            with REFERENCES[name]():
                training.step()

        return step

    found = []
    for name, what in (
        (LOOP, "with its short-term state in a TorchScript loop, all else MM-Rec's"),
        (PLAIN, "in plain PyTorch, short-term state and memory in TorchScript loops"),
    ):
        found += _compare({name: with_functions(name), STEP: training.step}, plan)
        gain = 1 / found[-1].ratio
        print(f"mm-rec-2m, 2 x 256, fp32: {gain:.1f} times as fast as {what}, "
              f"goal {LOOP_TARGET:g}: {_verdict(gain >= LOOP_TARGET)}")  # fmt: skip
    return found


def _against_products(plan: ComparePlan) -> list[Comparison]:
    found = []
    for preset, shape in (("mm-rec-2m", (2, 256)), ("mm-rec-1m-char", (24, 256))):
        training = Training(preset=preset, shape=shape)
        comparisons = _compare({STEP: training.step, **_products()}, plan)
        step_s = _median_s(comparisons[0], STEP)
        product_s = min(_median_s(c, c.variant) for c in comparisons)
        rate, limit = training.operations / step_s, 2.0 * PRODUCT_SIZE**3 / product_s
        print(f"{preset}, {shape[0]} x {shape[1]}, fp32: {1e3 * step_s:.1f} ms, "
              f"{training.tokens / step_s:,.0f} tokens/s, {rate / 1e9:.0f} of {limit / 1e9:.0f} "
              f"GFLOP/s, {rate / limit:.0%}, goal {PRODUCT_TARGET:.0%}: "
              f"{_verdict(rate / limit >= PRODUCT_TARGET)}")  # fmt: skip
        found += comparisons
    return found


def _products() -> dict[str, Callable[[], Tensor]]:
    square = torch.randn(PRODUCT_SIZE, PRODUCT_SIZE)
    onednn = torch.ops.mkldnn._linear_pointwise.default
    return {
        "torch.mm": lambda: square @ square,
        "oneDNN": lambda: onednn(square, square, None, "none", [], ""),
    }


def _characters(plan: ComparePlan) -> list[Comparison]:
    shape = (24, 256)
    wide = Training(preset="mm-rec-1m-char", shape=shape)
    narrow = Training(preset="mm-rec-1m-char", shape=shape, is_bfloat16=True)
    variants = {"fp32": wide.step, "bf16": narrow.step}
    found = _compare(variants, plan)
    speed = {name: narrow.tokens / _median_s(found[0], name) for name in variants}
    print(f"mm-rec-1m-char, 24 x 256: fp32 {speed['fp32']:,.0f} tokens/s, bf16 "
          f"{speed['bf16']:,.0f}, goal {CHARACTER_TARGET:,} on two cores: "
          f"{_verdict(speed['bf16'] >= CHARACTER_TARGET)}")  # fmt: skip
    return found


def _lengths(plan: ComparePlan) -> list[Comparison]:
    short, long = (
        Training(preset="mm-rec-2m", shape=(TOKENS // steps, steps)) for steps in (1024, TOKENS)
    )
    variants = {"T 1,024": short.step, f"T {TOKENS:,}": long.step}
    found = _compare(variants, plan)
    ratio = found[0].ratio
    print(f"mm-rec-2m, {TOKENS:,} tokens a step: time at T {TOKENS:,} / at "
          f"T 1,024: {ratio:.2f}, goal at most {LENGTH_TARGET}: "
          f"{_verdict(ratio <= LENGTH_TARGET)}")  # fmt: skip
    return found


def _compiled(plan: ComparePlan) -> tuple[list[Comparison], dict[str, float]]:
    found, compile_s = [], {}
    for steps in (256, 1024):
        torch.compiler.reset()
        eager, compiled = (Training(preset="mm-rec-2m", shape=(2, steps)) for _ in range(2))
        compiled.run = torch.compile(compiled.model, fullgraph=True)
        start_s = time.perf_counter()
        compiled.step()
        compile_s[f"T {steps}"] = time.perf_counter() - start_s
        variants = {STEP: eager.step, COMPILED: compiled.step}
        comparisons = _compare(variants, plan)
        print(f"mm-rec-2m, 2 x {steps}, torch.compile(fullgraph=True): "
              f"{comparisons[0].ratio:.2f} of the eager time, first step after "
              f"{compile_s[f'T {steps}']:.0f} s")  # fmt: skip
        found += comparisons
    return found, compile_s


def _compare(variants: dict[str, Callable[[], object]], plan: ComparePlan) -> list[Comparison]:
    threads = dict.fromkeys(variants, torch.get_num_threads())
    return compare(variants, plan=plan, threads=threads)


def _median_s(comparison: Comparison, name: str) -> float:
    return statistics.median(s for block in comparison.blocks for s in block["seconds"][name])


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "missed"


if __name__ == "__main__":
    sys.exit(main())
