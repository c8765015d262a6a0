"""Variants: the ways to run one model that a search tells apart."""

from dataclasses import dataclass, replace
from typing import Any

from ivme.engines.batching import Batching
from ivme.engines.protocol import EngineOptions


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

    def options(self, base: EngineOptions) -> EngineOptions:
        """Return the engine's options for this variant; base: what all variants share."""
        return replace(
            base, threads=self.threads, precision=self.precision, pad_to=self.batching.pad_to
        )

    def as_settings(self) -> dict[str, Any]:
        """Return the variant as a record keeps it."""
        return {
            "engine": self.engine,
            "precision": self.precision,
            "threads": self.threads,
            "batch_size": self.batching.batch_size,
            "order": self.batching.order,
            "padding": self.batching.padding,
        }
