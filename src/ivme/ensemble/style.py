"""How a text is written, as columns of features: rates of marks, spread of lengths, variety.

The figures themselves are measured by csrc/ensemble/style.cpp; this file scales them.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 4.0  # deviations from the mean; what is farther off counts as that far


@cache
def style_names() -> tuple[str, ...]:
    """Return the name of each figure, in order."""
    from ivme.ensemble import _kernels

    return tuple(_kernels.style_names())


def measure_style(text: str) -> NDArray[np.float64]:
    """Return the figures of a text, [figures]; zeros where it has no words."""
    from ivme.ensemble import _kernels

    return _kernels.measure_style(text)


@dataclass(frozen=True, kw_only=True, eq=False)
class StyleBlock:
    """Means and deviations of the figures in training, by which they are scaled.

    means, deviations: float64 [figures], deviations above zero. weight: what one deviation counts,
    beside n-grams whose values have length 1 together.
    """

    names: tuple[str, ...]
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    weight: float

    def weigh(self, text: str) -> NDArray[np.float64]:
        """Return the scaled figures of the text, [figures]."""
        scaled = (measure_style(text) - self.means) / self.deviations
        return self.weight * np.clip(scaled, -LARGEST, LARGEST)

    def to_values(self) -> dict[str, Any]:
        """Return the block as JSON takes it."""
        return {
            "names": list(self.names),
            "means": self.means.tolist(),
            "deviations": self.deviations.tolist(),
            "weight": self.weight,
        }

    @staticmethod
    def from_values(values: dict[str, Any]) -> "StyleBlock":
        """Return the block that `to_values` wrote; raises ValueError where parts do not fit."""
        names = tuple(values["names"])
        means = np.array(values["means"], np.float64)
        deviations = np.array(values["deviations"], np.float64)
        weight = float(values["weight"])
        if means.shape != (len(names),) or deviations.shape != (len(names),):
            raise ValueError(f"{len(names)} figures of style with {means.size} means")
        if not (np.isfinite([*means, *deviations, weight]).all() and (deviations > 0).all()):
            raise ValueError("a mean or deviation of style that cannot be")
        return StyleBlock(names=names, means=means, deviations=deviations, weight=weight)
