"""The compiled kernel of csrc/ensemble."""

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
