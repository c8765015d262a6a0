"""Sessions on encoders in OpenVINO: classifiers, masked and embedding models."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.engines import answers
from ivme.engines.openvino_runtime import CompiledNetwork
from ivme.engines.openvino_session import OpenVinoSession
from ivme.engines.protocol import EngineOptions

if TYPE_CHECKING:
    import numpy as np

    from ivme.models.interface import TextModel

MODEL_FILE = "openvino_model.xml"


class OpenVinoEncoderSession(OpenVinoSession):
    """One compiled encoder, and one more for each bucket that a single text was padded to.

    shaped: these, by their shape [1, T]. A network that is compiled for one shape is up to a tenth
    faster than one for any, and takes weights of its own.
    """

    rounds_up = True

    def __init__(
        self, folder: Path, model: "TextModel", options: EngineOptions, build: Mapping[str, Any]
    ) -> None:
        self.network = CompiledNetwork(folder / MODEL_FILE, options)
        self._path = folder / MODEL_FILE
        self.shaped: dict[tuple[int, ...], CompiledNetwork] = {}
        self._shaping = threading.Lock()
        super().__init__(model, options, [self.network], build["notes"])

    def pad_to(self, lengths: tuple[int, ...]) -> None:
        """Pad batches to these lengths from now on; unlike buckets they get no networks."""
        self.limits = replace(self.limits, buckets=lengths)

    def compute(self, batch: "Mapping[str, np.ndarray]") -> "np.ndarray":
        """Return logits [B, labels], [B, vocabulary] at the masks, or vectors [B, D]."""
        if self.model.kind == "masked":
            answers.mask_positions(self.model, batch["input_ids"])  # refuses a text without
        network = self._network_for(batch["input_ids"].shape)
        [output] = network.infer({name: batch[name] for name in network.inputs})
        return output

    def close(self) -> None:
        """Free the compiled networks."""
        super().close()
        for network in self.shaped.values():
            network.close()

    def _network_for(self, shape: tuple[int, ...]) -> CompiledNetwork:
        """Return the network for a batch of [B, T]: its own for one text as long as a bucket."""
        if shape[0] > 1 or shape[1] not in self.options.buckets:
            return self.network
        with self._shaping:
            if shape not in self.shaped:
                self.shaped[shape] = CompiledNetwork(self._path, self.options, shape)
            return self.shaped[shape]
