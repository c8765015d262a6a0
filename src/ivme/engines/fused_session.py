"""Sessions on encoders in the fused kernels: texts in, predictions out, without PyTorch."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ivme._encoder import Encoder, instruction_sets
from ivme.engines.array_session import ArraySession
from ivme.engines.encoding import token_limits
from ivme.engines.fused_portable import PortableEncoder
from ivme.engines.fused_weights import SHAPE_FILE, map_arrays
from ivme.engines.protocol import EngineOptions
from ivme.errors import OutOfMemoryError, UsageError
from ivme.measure.clock import Clock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ivme.models.interface import TextModel

PORTABLE = "portable"  # for a processor that the kernels do not run on
SLOW_NOTE = (
    "this processor lacks AVX-512 with VNNI: NumPy computes from the int8 weights, slowly; "
    "tune the model on this machine"
)
MOST_ROWS = 512  # tokens at once: more leave the caches, and without padding nothing is gained


class FusedSession(ArraySession):
    """One encoder."""

    def __init__(
        self,
        folder: Path,
        model: "TextModel",
        options: EngineOptions,
        clock: Clock | None = None,
        instruction_set: str = "",
    ) -> None:
        """Raises OSError, ValueError, KeyError or TypeError where the files are not as written."""
        super().__init__(model, token_limits(model, options), clock)
        shape = json.loads((folder / SHAPE_FILE).read_text(encoding="utf-8"))
        shape["head"] = [(int(columns), activation) for columns, activation in shape["head"]]
        arrays = map_arrays(folder)
        # Read now: pages that come with new words look like a leak.
        arrays |= {name: np.array(arrays[name]) for name in ("words", "floats")}
        used = instruction_set or next(iter(instruction_sets()), PORTABLE)
        self._encoder: Encoder | PortableEncoder | None
        if used == PORTABLE:
            self._encoder = PortableEncoder(**arrays, **shape)
            self.notes: tuple[str, ...] = (SLOW_NOTE,)
        else:
            self._encoder = Encoder(**arrays, instruction_set=used, **shape)
            self.notes = (
                f"int8 products by {used}, a scale for each token; attention in bfloat16",
            )
        self.threads = options.threads
        self.precision = "int8"

    def close(self) -> None:
        """Free the encoder and what its calls worked in."""
        self._encoder = None

    def compute(self, batch: "Mapping[str, NDArray[np.int64]]") -> "NDArray[np.float32]":
        """Return logits [B, labels] or vectors [B, D]; the padding is left out."""
        encoder = self._encoder
        if encoder is None:
            raise UsageError("the session was closed before this call; prepare another")
        is_token = batch["attention_mask"] != 0
        lengths = is_token.sum(axis=1)
        ids = batch["input_ids"][is_token]
        types = batch["token_type_ids"][is_token] if "token_type_ids" in batch else None
        ends = np.concatenate([[0], lengths.cumsum()])
        output = np.empty((len(lengths), encoder.columns), dtype=np.float32)
        try:
            for first, end in _groups(lengths):
                rows = slice(ends[first], ends[end])
                starts = ends[first : end + 1] - ends[first]
                chosen = None if types is None else types[rows]
                encoder.encode(starts, ids[rows], chosen, output[first:end], self.threads)
        except MemoryError as error:
            raise OutOfMemoryError(
                f"{self.model.reference} ran out of memory; use shorter texts"
            ) from error
        return output


def _groups(lengths: "NDArray[np.int64]") -> Iterator[tuple[int, int]]:
    """Yield first and end of texts that are computed together, MOST_ROWS tokens or one text."""
    first, tokens = 0, 0
    for number, length in enumerate(lengths):
        if tokens + length > MOST_ROWS and number > first:
            yield first, number
            first, tokens = number, 0
        tokens += int(length)
    yield first, len(lengths)
