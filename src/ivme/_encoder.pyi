"""The compiled kernels of csrc/encoder."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def instruction_sets() -> list[str]: ...
def multiply(
    rows: NDArray[np.uint8],
    panels: NDArray[np.int8],
    sums: NDArray[np.int32],
    threads: int,
    instruction_set: str = "",
) -> None: ...

class Encoder:
    def __init__(
        self,
        *,
        weights: NDArray[np.int8],
        words: NDArray[np.uint16],
        floats: NDArray[np.float32],
        width: int,
        heads: int,
        inner: int,
        layers: int,
        positions: int,
        types: int,
        norm_eps: float,
        pooling: str,
        is_normalized: bool,
        head: Sequence[tuple[int, str]],
        instruction_set: str = "",
    ) -> None: ...
    @property
    def columns(self) -> int: ...
    def encode(
        self,
        starts: NDArray[np.int64],
        ids: NDArray[np.int64],
        types: NDArray[np.int64] | None,
        answers: NDArray[np.float32],
        threads: int,
    ) -> None: ...
