"""Settings of a training step: what a diagnosis may turn, one at a time and together."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ivme.errors import UsageError
from ivme.hardware.threads import check_threads

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How one training step runs.

    dtype: "bfloat16" computes under autocast, weights stay float32. workers: processes (MM-Rec:
    threads) that make batches ahead; 0: the step makes its own. prefetch: batches that each of
    them keeps ready. accumulation: passes of `batch_size` whose gradients make one step.

    Raises UsageError where a value is out of range.
    """

    batch_size: int = 2
    sequence_length: int = 512
    dtype: str = "float32"
    workers: int = 0
    prefetch: int = 2
    threads: int = 1
    compile: bool = False
    checkpointing: bool = False
    accumulation: int = 1

    def __post_init__(self) -> None:
        for name in ("batch_size", "sequence_length", "prefetch", "accumulation"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}; expected 1 or more")
        check_threads(self.threads)
        if self.workers < 0:
            raise UsageError(f"workers={self.workers}; expected 0 or more")
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype={self.dtype!r}; expected one of {', '.join(DTYPES)}")

    def changed(self, **settings: Any) -> "StepSettings":
        """Return a copy with some settings replaced."""
        return dataclasses.replace(self, **settings)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings by name."""
        return dataclasses.asdict(self)

    def differences(self, other: "StepSettings") -> dict[str, Any]:
        """Return the settings of `self` that differ from those of `other`."""
        theirs = other.as_dict()
        return {name: value for name, value in self.as_dict().items() if theirs[name] != value}


NAMES = tuple(field.name for field in dataclasses.fields(StepSettings))
_WORDS = {
    "batch_size": "batch {}",
    "sequence_length": "{} tokens",
    "workers": "{} workers",
    "prefetch": "prefetch {}",
    "threads": "{} threads",
    "accumulation": "accumulation {}",
}
_SINGULAR = {"workers": "1 worker", "threads": "1 thread"}


def describe(changes: Mapping[str, Any]) -> str:
    """Return settings in words, as in "batch 8 · bfloat16"; "nothing" for none."""
    return " · ".join(_word(name, value) for name, value in changes.items()) or "nothing"


def _word(name: str, value: Any) -> str:
    if name == "compile":
        return "compiled" if value else "not compiled"
    if name == "checkpointing":
        return "checkpointing" if value else "no checkpointing"
    if value == 1 and name in _SINGULAR:
        return _SINGULAR[name]
    return _WORDS.get(name, "{}").format(value)
