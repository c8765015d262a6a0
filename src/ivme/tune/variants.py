"""Variants: the ways to run one model that a search tells apart."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ivme.engines.batching import Batching, options_for
from ivme.engines.protocol import EngineOptions

MOST_NAMED = 4  # lengths


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run a model: engine, precision, threads within an operation, batching."""

    engine: str  # a name of ivme.engines.registry.ENGINES
    precision: str  # one of the engine's own
    threads: int
    batching: Batching

    @property
    def name(self) -> str:
        """What tables call it, as the command line takes it: "openvino:int8"."""
        return f"{self.engine}:{self.precision}"

    @property
    def label(self) -> str:
        """What tells it from every other: "openvino:int8 · batch 16 sorted · 2 threads"."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.name} · {describe_batching(self.batching)} · {threads}"

    def options(self, base: EngineOptions) -> EngineOptions:
        """Return the engine's options for this variant; base: what all variants share."""
        shared = replace(base, threads=self.threads, precision=self.precision)
        return options_for(shared, self.batching)

    def as_settings(self) -> dict[str, Any]:
        """Return the variant as a record keeps it; the batching's own fields beside the rest."""
        return {
            "engine": self.engine,
            "precision": self.precision,
            "threads": self.threads,
            **asdict(self.batching),
        }


def describe_batching(batching: Batching) -> str:
    """Return the batching in a few words, as in "batch 16 sorted"."""
    words = [f"batch {batching.batch_size}"]
    if batching.order != "given":
        words.append(batching.order)
    if batching.cost is not None:
        words.append("by measured cost")
    if batching.max_batch_tokens is not None:
        words.append(f"of {batching.max_batch_tokens} tokens")
    if batching.buckets:
        words.append(f"padded to {_few(batching.buckets)}")
    if batching.padding == "fixed":
        words.append(f"padded to {batching.pad_to or 'the limit'}")
    if batching.streams > 1:
        words.append(f"in {batching.streams} streams")
    return " ".join(words)


def _few(buckets: Sequence[int]) -> str:
    if len(buckets) > MOST_NAMED:
        return f"{len(buckets)} lengths"
    return "/".join(map(str, buckets))
