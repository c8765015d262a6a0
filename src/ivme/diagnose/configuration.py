"""The configuration of a diagnosis."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ivme.diagnose.settings import NAMES
from ivme.errors import UsageError

DEFAULT_BUDGET_S = 150.0
QUICK_BUDGET_S = 45.0


@dataclass(frozen=True, kw_only=True)
class DiagnoseConfig:
    """What to diagnose, and how long that may take.

    given: settings of `StepSettings` that the set-up has now; others are the target's own.
    budget_s: seconds for everything but making a preset, measuring the machine's ceilings where
    `ivme doctor` has not done so, and `check`. step_limit_s: a step that takes longer counts as
    hanging; one that compiles has part of the budget, if that is more.

    Raises UsageError where a value is out of range.
    """

    target: str
    given: Mapping[str, Any] = field(default_factory=dict)
    texts: str | None = None  # file of texts to train on; None: the built-in corpus
    kind: str | None = None  # of a Hugging Face model, where its config does not say
    budget_s: float = DEFAULT_BUDGET_S
    step_limit_s: float = 60.0
    is_quick: bool = False  # fewer settings are tried
    check: bool = False  # measure the advised settings again in fresh processes
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("budget_s", "step_limit_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name}={value}; expected more than 0, and finite")
        unknown = sorted(set(self.given) - set(NAMES))
        if unknown:
            raise UsageError(f"no setting {unknown[0]!r}; expected one of {', '.join(NAMES)}")

    def as_settings(self) -> dict[str, Any]:
        """Return the configuration as a record keeps it."""
        return asdict(self)
