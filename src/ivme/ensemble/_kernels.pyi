"""The compiled kernels of csrc/ensemble."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

class Forest:
    def __init__(
        self,
        nodes: NDArray[np.uint8],
        roots: NDArray[np.int32],
        outputs: NDArray[np.int32],
        leaf_values: NDArray[np.float64],
        features: int,
        has_float_inputs: bool,
    ) -> None: ...
    def add_scores(
        self,
        starts: NDArray[np.int64],
        indices: NDArray[np.int32],
        values: NDArray[np.float64],
        scores: NDArray[Any],
    ) -> None: ...

class NgramBlock:
    def __init__(
        self,
        splitting: str,
        shortest: int,
        longest: int,
        ngrams: Sequence[str],
        idf: NDArray[np.float64],
        weight_of_count: NDArray[np.float64],
    ) -> None: ...
    def weigh(self, text: str, first: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]: ...

def with_single_blanks(text: str) -> str: ...
def measure_style(text: str) -> NDArray[np.float64]: ...
def style_names() -> list[str]: ...
