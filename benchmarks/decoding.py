"""Tokens a second, one at a time: the fused step, Transformers' generate(), the plain modules.

Run `python benchmarks/decoding.py --output decoding.json`. The step is first held to the parallel
forward; if it differs, nothing is timed. Variants take turns in random order, each writing some
tokens greedily from a state that was made before: at the start of a text, after 1,000 tokens and
after 100,000. Figures are medians, ratios are medians of ratios within one round.
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
from mm_rec.configuration import preset_config
from mm_rec.core.state import MMRecState
from mm_rec.decoding import Decoder
from mm_rec.model import MMRecForCausalLM

PRESET = "mm-rec-2m"
TOLERANCE = 1e-5
SHORT, LONG = 1_000, 100_000  # tokens of context
TARGETS = {"stream": 2000.0, "generate": 200.0}  # tokens a second
WITHIN = 0.10  # after LONG tokens of context, compared with SHORT


def main() -> int:
    options = _parser().parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    model = MMRecForCausalLM(preset_config(PRESET)).eval()
    difference = _difference(model)
    print(f"fused step against parallel forward: {difference:.1e}, at most {TOLERANCE:.0e}")
    if not difference <= TOLERANCE:
        print("Not timed: the fused step differs from the forward.", file=sys.stderr)
        return 1
    samples = _interleave(_variants(model, options.tokens), options.rounds)
    _print(samples, options.tokens)
    if options.output:
        _write(options, samples)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="times that each variant runs")
    parser.add_argument("--tokens", type=int, default=100, help="tokens written in each run")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="file for all raw samples, as JSON")
    return parser


def _difference(model: MMRecForCausalLM, steps: int = 300) -> float:
    ids = torch.randint(model.config.vocab_size, (2, steps))
    decoder = Decoder(model, batch_size=2)
    logits = [decoder.step(column.contiguous()) for column in ids.unbind(1)]
    return float((torch.stack(logits, dim=1) - model(ids).logits).abs().max())


def _variants(model: MMRecForCausalLM, tokens: int) -> dict[str, Callable[[], None]]:
    first = torch.zeros(1, 1, dtype=torch.int64)
    states = {context: _state_after(model, context) for context in (SHORT, LONG)}

    def stream(state: MMRecState | None = None) -> Callable[[], None]:
        def run() -> None:
            decoder = Decoder(model, state=state)
            for ids in decoder.stream(first, max_new_tokens=tokens):
                int(ids)  # as a program that prints them would

        return run

    def generate(is_fused: bool) -> Callable[[], None]:
        def run() -> None:
            model.use_fused_step = is_fused
            model.generate(first, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
            model.use_fused_step = True

        return run

    return {
        "stream": stream(),
        f"stream after {SHORT:,}": stream(states[SHORT]),
        f"stream after {LONG:,}": stream(states[LONG]),
        "generate": generate(is_fused=True),
        "generate, modules": generate(is_fused=False),
    }


def _state_after(model: MMRecForCausalLM, context: int) -> MMRecState:
    decoder = Decoder(model)
    decoder.read(torch.randint(model.config.vocab_size, (1, context)), chunk_size=1024)
    return decoder.state


def _interleave(variants: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Return seconds of each variant, one for each round; the first round is warm-up."""
    order = random.Random(0)
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(rounds + 1):
        names = list(variants)
        order.shuffle(names)
        for name in names:
            start_s = time.perf_counter()
            variants[name]()
            if round_number:
                samples[name].append(time.perf_counter() - start_s)
    return samples


def _print(samples: dict[str, list[float]], tokens: int) -> None:
    for name, seconds in samples.items():
        rate = tokens / statistics.median(seconds)
        goal = f"   goal {TARGETS[name]:,.0f}" if name in TARGETS else ""
        best = tokens / min(seconds)
        print(f"{name:22} {rate:9,.0f} tokens/s, at best {best:9,.0f}{goal}")
    short, long = (samples[f"stream after {context:,}"] for context in (SHORT, LONG))
    ratio = statistics.median(b / a for a, b in zip(short, long, strict=True))
    print(f"time after {LONG:,} tokens / after {SHORT:,}: {ratio:.3f}   goal 1 ± {WITHIN}")
    fused, modules = samples["generate"], samples["generate, modules"]
    ratio = statistics.median(b / a for a, b in zip(fused, modules, strict=True))
    print(f"generate() by modules / by the fused step: {ratio:.2f}")


def _write(options: argparse.Namespace, samples: dict[str, list[float]]) -> None:
    content = {
        "command": sys.argv,
        "machine": platform.processor() or platform.machine(),
        "instruction_set": mm_rec_scan_cpu.instruction_set(),
        "torch": torch.__version__,
        "threads": options.threads,
        "tokens_per_run": options.tokens,
        "seconds": samples,
    }
    options.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
