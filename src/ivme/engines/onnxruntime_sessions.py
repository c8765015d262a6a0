"""Exported models that run in ONNX Runtime: texts in, predictions out, without PyTorch."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.engines import answers
from ivme.engines.array_session import ArraySession
from ivme.engines.encoding import encode_arrays, token_limits
from ivme.engines.greedy import Forced, Greedy, split_targets
from ivme.engines.onnxruntime_calls import memory_errors_named, open_session
from ivme.engines.protocol import EngineOptions

if TYPE_CHECKING:
    import numpy as np

    from ivme.models.interface import TextModel

# Joined with the addition before it, a layer norm takes five times as long (one thread, int8).
SLOW_IN_INT8 = ("SkipLayerNormFusion",)


class OnnxRuntimeSession(ArraySession):
    """What the sessions of all kinds share."""

    files: tuple[str, ...] = ("model.onnx",)

    def __init__(
        self,
        folder: Path,
        description: Mapping[str, Any],
        model: "TextModel",
        options: EngineOptions,
    ) -> None:
        super().__init__(model, token_limits(model, options))
        self.options = options
        self.description = description
        self.precision = options.precision or "float32"
        self.notes: tuple[str, ...] = tuple(description["notes"])
        without = () if self.precision == "float32" else SLOW_IN_INT8
        self.graphs = {
            name: open_session(folder / name, threads=options.threads, without=without)
            for name in self.files
        }

    def compute(self, batch: "Mapping[str, np.ndarray]") -> "np.ndarray":
        """Return what the answers are read from; where memory runs out, an error of its own."""
        with memory_errors_named(self.model, len(batch["input_ids"])):
            return self._compute(batch)

    def close(self) -> None:
        """Free the graphs and their memory."""
        self.graphs.clear()

    @abstractmethod
    def _compute(self, arrays: "Mapping[str, np.ndarray]") -> "np.ndarray":
        """Return what the answers are read from: logits, vectors or token ids."""


class EncoderSession(OnnxRuntimeSession):
    """A classifier, masked or embedding model: one graph, one call."""

    def _compute(self, arrays: "Mapping[str, np.ndarray]") -> "np.ndarray":
        if self.model.kind == "masked":
            answers.mask_positions(self.model, arrays["input_ids"])  # refuses texts without one
        feeds = {name: arrays[name] for name in self.description["inputs"]}
        output: np.ndarray = self.graphs["model.onnx"].run(None, feeds)[0]
        return output


class GeneratingSession(OnnxRuntimeSession):
    """What both generating kinds do: one step a token, states kept inside ONNX Runtime."""

    def _generate(
        self,
        tokens: "np.ndarray",
        fixed: dict[str, Any],
        *,
        mask_grows: bool,
        rules: Greedy | Forced,
        count: int,
    ) -> "np.ndarray":
        """Return `count` new tokens [B, N] after `tokens` [B, T], as the rules choose them.

        fixed: what every step reads; mask_grows: whether attention_mask gains a column a token.
        """
        import numpy as np

        graph = self.graphs["step.onnx"]
        ports = [port.name for port in graph.get_inputs()]
        outputs = [port.name for port in graph.get_outputs()]
        past = [name.replace("present", "past") for name in outputs[1:]]
        feeds = {**fixed, **self._empty_states(past, len(tokens))}
        chosen: list[np.ndarray] = []
        for number in range(count):
            feeds[ports[0]] = _value(tokens)
            logits, *states = graph.run_with_ort_values(outputs, feeds)
            feeds.update(zip(past, states, strict=True))
            tokens = rules.choose(logits.numpy(), is_first=number == 0)
            chosen.append(tokens)
            if mask_grows:
                mask = feeds["attention_mask"].numpy()
                feeds["attention_mask"] = _value(np.pad(mask, ((0, 0), (0, 1)), constant_values=1))
        return np.concatenate(chosen, axis=1)

    def _empty_states(self, names: Sequence[str], batch: int) -> dict[str, Any]:
        import numpy as np

        shapes = self.description["states"]
        return {
            name: _value(np.zeros((batch, heads, 0, size), dtype=np.float32))
            for name, (heads, size) in zip(names, shapes, strict=True)
        }


class CausalSession(GeneratingSession):
    """A decoder: the prompt at once, then a token at a time."""

    files = ("step.onnx",)

    def _compute(self, arrays: "Mapping[str, np.ndarray]") -> "np.ndarray":
        rules = Greedy.of(self.description["generation"])
        return self._continue(arrays, arrays["input_ids"], rules, self.options.new_tokens)

    def score(self, text: str) -> float:
        """Return the mean log-likelihood of the text's last tokens, as ScoringSession says."""
        arrays = encode_arrays(self.model, [text], self.limits)
        prompt, targets = split_targets(arrays["input_ids"], self.options.new_tokens)
        if not len(targets):
            return 0.0
        rules = Forced(targets=targets)
        with memory_errors_named(self.model, 1):
            self._continue(arrays, prompt, rules, len(targets))
        return rules.log_likelihood / len(targets)

    def _continue(
        self,
        arrays: "Mapping[str, np.ndarray]",
        prompt: "np.ndarray",
        rules: Greedy | Forced,
        count: int,
    ) -> "np.ndarray":
        mask = arrays["attention_mask"][:, : prompt.shape[1]]
        fixed = {"attention_mask": _value(mask)}
        return self._generate(prompt, fixed, mask_grows=True, rules=rules, count=count)


class Seq2seqSession(GeneratingSession):
    """An encoder, once, and a decoder, a token at a time."""

    files = ("model.onnx", "step.onnx")

    def _compute(self, arrays: "Mapping[str, np.ndarray]") -> "np.ndarray":
        import numpy as np

        encoder = self.graphs["model.onnx"]
        read = {port.name: _value(arrays[port.name]) for port in encoder.get_inputs()}
        names = [port.name for port in encoder.get_outputs()]
        states = dict(zip(names, encoder.run_with_ort_values(names, read), strict=True))
        fixed = {"attention_mask": _value(arrays["attention_mask"]), **states}
        start = self.description["generation"]["decoder_start_token_id"]
        first = np.full((len(arrays["input_ids"]), 1), start, dtype=np.int64)
        rules, count = Greedy.of(self.description["generation"]), self.options.new_tokens
        return self._generate(first, fixed, mask_grows=False, rules=rules, count=count)


def _value(array: "np.ndarray") -> Any:
    """Return the array as a value of ONNX Runtime, which its outputs are as well."""
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


SESSIONS: dict[str, type[OnnxRuntimeSession]] = {
    "classifier": EncoderSession,
    "masked": EncoderSession,
    "embedding": EncoderSession,
    "causal": CausalSession,
    "seq2seq": Seq2seqSession,
}
