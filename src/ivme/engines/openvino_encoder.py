"""Sessions on encoders in OpenVINO: classifiers, masked and embedding models."""

from collections.abc import Mapping
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
    """One compiled encoder."""

    def __init__(
        self, folder: Path, model: "TextModel", options: EngineOptions, build: Mapping[str, Any]
    ) -> None:
        self.network = CompiledNetwork(folder / MODEL_FILE, options)
        super().__init__(model, options, [self.network], build["notes"])

    def compute(self, batch: "Mapping[str, np.ndarray]") -> "np.ndarray":
        """Return logits [B, labels], [B, vocabulary] at the masks, or vectors [B, D]."""
        if self.model.kind == "masked":
            answers.mask_positions(self.model, batch["input_ids"])  # refuses a text without
        [output] = self.network.infer({name: batch[name] for name in self.network.inputs})
        return output
