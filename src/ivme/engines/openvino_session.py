"""What sessions on OpenVINO share: texts in, predictions out, from any thread."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ivme.engines import answers
from ivme.engines.encoding import count_tokens, encode_arrays, token_limits
from ivme.engines.openvino_runtime import CompiledNetwork
from ivme.engines.protocol import EngineOptions, Prediction, StageSeconds
from ivme.measure.clock import Clock, SystemClock

if TYPE_CHECKING:
    import numpy as np

    from ivme.models.interface import TextModel


class OpenVinoSession(ABC):
    """Compiled networks, ready to run batches of any shape.

    rounds_up: batches are padded to a few lengths, because OpenVINO prepares itself for each.
    """

    rounds_up = False

    def __init__(
        self,
        model: "TextModel",
        options: EngineOptions,
        networks: Sequence[CompiledNetwork],
        notes: Sequence[str],
        clock: Clock | None = None,
    ) -> None:
        self.model = model
        self.options = options
        self.networks = tuple(networks)
        self.notes = (*notes, self.networks[-1].describe())
        self.precision = options.precision or "float32"
        self.limits = replace(token_limits(model, options), rounds_up=self.rounds_up)
        self.clock = clock or SystemClock()
        # Transformers' tokenizers keep the limits of a call until the next: one call at a time.
        self._reading = threading.Lock()

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        """Return one prediction a text, in order; all texts run as one batch.

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

    @abstractmethod
    def compute(self, batch: "Mapping[str, np.ndarray]") -> "np.ndarray":
        """Return what the answers are read from: logits, vectors or token ids."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation, padding not counted."""
        with self._reading:
            return count_tokens(self.model, texts, self.limits)

    def padded(self, length: int) -> int:
        """Return the tokens that a batch is padded to if its longest text has `length`."""
        return self.limits.padded(length)

    def close(self) -> None:
        """Free the compiled networks."""
        for network in self.networks:
            network.close()
