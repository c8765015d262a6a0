"""Sessions on encoders in OpenVINO: classifiers, masked and embedding models."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ivme.engines import answers
from ivme.engines.encoding import count_tokens, encode_arrays, token_limits
from ivme.engines.openvino_runtime import CompiledNetwork
from ivme.engines.protocol import EngineOptions, Prediction, StageSeconds
from ivme.measure.clock import Clock, SystemClock

if TYPE_CHECKING:
    from ivme.models.interface import TextModel

MODEL_FILE = "openvino_model.xml"


class OpenVinoEncoderSession:
    """A compiled encoder, ready to run batches of any shape, from any thread."""

    def __init__(
        self,
        folder: Path,
        model: "TextModel",
        options: EngineOptions,
        notes: tuple[str, ...] = (),
        clock: Clock | None = None,
    ) -> None:
        self.model = model
        self.options = options
        self.clock = clock or SystemClock()
        self.precision = options.precision or "float32"
        self.limits = token_limits(model, options)
        self.network = CompiledNetwork(folder / MODEL_FILE, self.precision, options.threads)
        self.names = tuple(port.any_name for port in self.network.compiled.inputs)
        self.notes = (*notes, self.network.describe())

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        """Return one prediction a text, in order; all texts run as one batch.

        Raises:
            WorkloadError: a text is empty, or has no mask for a masked model.
            OutOfMemoryError: the batch does not fit.
        """
        start = self.clock.now()
        batch = encode_arrays(self.model, texts, self.limits)
        if self.model.kind == "masked":
            answers.mask_positions(self.model, batch["input_ids"])  # refuses a text without
        encoded = self.clock.now()
        [output] = self.network.infer({name: batch[name] for name in self.names})
        computed = self.clock.now()
        predictions = answers.read(self.model, output)
        if stages is not None:
            stages.encode_s.append(encoded - start)
            stages.forward_s.append(computed - encoded)
            stages.decode_s.append(self.clock.now() - computed)
        return predictions

    def warm(self, lengths: Iterable[int], batch_size: int = 1) -> None:
        """Make the kernels for batches of `batch_size` texts padded to each of `lengths` tokens.

        OpenVINO makes them when it first meets a shape, which costs as much as the call itself.
        """
        import numpy as np

        for length in lengths:
            shape = (batch_size, length)
            arrays = {name: np.ones(shape, dtype=np.int64) for name in self.names}
            self.network.infer(arrays)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation, padding not counted."""
        return count_tokens(self.model, texts, self.limits)

    def close(self) -> None:
        """Free the compiled model."""
        self.network.close()
