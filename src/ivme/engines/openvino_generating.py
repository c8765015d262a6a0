"""Sessions on generating models in OpenVINO: greedy, keys and values kept inside the library."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.engines.encoding import encode_arrays
from ivme.engines.greedy import Forced, Greedy, split_targets
from ivme.engines.openvino_runtime import CompiledNetwork
from ivme.engines.openvino_session import OpenVinoSession
from ivme.engines.protocol import EngineOptions

if TYPE_CHECKING:
    import numpy as np

    from ivme.models.interface import TextModel

ENCODER_FILE = "openvino_encoder_model.xml"
DECODER_FILE = "openvino_decoder_model.xml"  # of a causal model: all of it
STATE_ORDER = "beam_idx"  # which row of the states each row of the batch goes on from


def cross_names(states: int) -> tuple[str, ...]:
    """Return the decoder's inputs for the keys and values of the encoder's tokens."""
    return tuple(f"cross.{number}" for number in range(states))


class OpenVinoGeneratingSession(OpenVinoSession):
    """A compiled decoder, whose prefill and decoding are one network, and maybe an encoder."""

    def __init__(
        self, folder: Path, model: "TextModel", options: EngineOptions, build: Mapping[str, Any]
    ) -> None:
        self.greedy = Greedy.of(build["generation"])
        self.decoder = CompiledNetwork(folder / DECODER_FILE, options)
        networks = [self.decoder]
        if model.kind == "seq2seq":
            networks.insert(0, CompiledNetwork(folder / ENCODER_FILE, options))
        super().__init__(model, options, networks, build["notes"])

    def compute(self, batch: "Mapping[str, np.ndarray]") -> "np.ndarray":
        """Return the new token ids [B, new tokens]."""
        import numpy as np

        ids, mask = batch["input_ids"], batch["attention_mask"]
        inputs = {STATE_ORDER: np.arange(len(ids), dtype=np.int32), "attention_mask": mask}
        count = self.options.new_tokens
        if self.model.kind == "causal":
            return self._decode("input_ids", ids, inputs, self.greedy, count)
        cross = self.networks[0].infer({"input_ids": ids, "attention_mask": mask})
        inputs |= zip(cross_names(len(cross)), cross, strict=True)
        start = np.full((len(ids), 1), self.greedy.start_id, dtype=np.int64)
        return self._decode("decoder_input_ids", start, inputs, self.greedy, count)

    def _decode(
        self,
        name: str,
        ids: "np.ndarray",
        inputs: "dict[str, np.ndarray]",
        rules: Greedy | Forced,
        count: int,
    ) -> "np.ndarray":
        """Return `count` tokens [B, N] that follow ids [B, T], the input called `name`."""
        import numpy as np

        new: list[np.ndarray] = []
        is_causal = self.model.kind == "causal"
        self.decoder.forget()
        for number in range(count):
            [logits] = self.decoder.infer(inputs | {name: ids})
            ids = rules.choose(logits, is_first=number == 0 and not is_causal)
            new.append(ids)
            if is_causal:
                mask = inputs["attention_mask"]
                inputs["attention_mask"] = np.pad(mask, ((0, 0), (0, 1)), constant_values=1)
        return np.concatenate(new, axis=1)


class OpenVinoCausalSession(OpenVinoGeneratingSession):
    """A causal model, which can also say how likely a text is."""

    def score(self, text: str) -> float:
        """Return the mean log-likelihood of the text's last tokens, as ScoringSession says."""
        import numpy as np

        with self._reading:
            batch = encode_arrays(self.model, [text], self.limits)
        prompt, targets = split_targets(batch["input_ids"], self.options.new_tokens)
        if not len(targets):
            return 0.0
        rules = Forced(targets=targets)
        mask = batch["attention_mask"][:, : prompt.shape[1]]
        inputs = {STATE_ORDER: np.zeros(1, dtype=np.int32), "attention_mask": mask}
        self._decode("input_ids", prompt, inputs, rules, len(targets))
        return rules.log_likelihood / len(targets)
