"""What sessions without PyTorch share: texts to arrays, arrays to answers, from any thread."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ivme.engines import answers
from ivme.engines.encoding import TokenLimits, count_tokens, encode_arrays
from ivme.engines.protocol import Prediction, StageSeconds
from ivme.measure.clock import Clock, SystemClock

if TYPE_CHECKING:
    import numpy as np

    from ivme.models.interface import TextModel


class ArraySession(ABC):
    """A session but for what its engine computes; several threads may call one at a time."""

    def __init__(self, model: "TextModel", limits: TokenLimits, clock: Clock | None = None) -> None:
        self.model, self.limits = model, limits
        self.clock = clock or SystemClock()
        # Tokenizers with code of their own keep the limits of a call until the next.
        self._reading = threading.Lock()

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        """Return one prediction a text, in order.

        Raises:
            WorkloadError: a text is empty, or has no mask for a masked model.
            OutOfMemoryError: the batch does not fit.
        """
        start = self.clock.now()
        with self._reading:
            batch = encode_arrays(self.model, texts, self.limits)
        encoded = self.clock.now()
        output = self.compute(batch)
        computed = self.clock.now()
        predictions = answers.read(self.model, output)
        if stages is not None:
            stages.encode_s.append(encoded - start)
            stages.forward_s.append(computed - encoded)
            stages.decode_s.append(self.clock.now() - computed)
        return predictions

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation, padding not counted."""
        with self._reading:
            return count_tokens(self.model, texts, self.limits)

    @abstractmethod
    def compute(self, batch: "Mapping[str, np.ndarray]") -> "np.ndarray":
        """Return what the answers are read from: logits, vectors or token ids."""
