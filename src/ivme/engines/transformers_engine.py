"""The manual path: tokenizer and model called directly, with nothing left to a default."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ivme.engines import answers
from ivme.engines.encoding import count_tokens, encode, token_limits
from ivme.engines.protocol import EngineOptions, Prediction, StageSeconds
from ivme.engines.torch_calls import memory_errors_named, use_threads
from ivme.errors import RefusedError
from ivme.measure.clock import Clock, SystemClock

if TYPE_CHECKING:
    import torch

    from ivme.models.loading import LoadedModel


class TransformersEngine:
    """Tokenizer, one forward pass (or generate) in inference mode, numpy out."""

    name = "transformers"
    summary = "tokenizer and model called by hand in PyTorch, in inference mode"
    precisions = ("float32", "bfloat16", "float16")

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model, or None if it can."""
        return answers.reason_for_no_answer(model)

    def prepare(
        self, model: "LoadedModel", options: EngineOptions, clock: Clock | None = None
    ) -> "TransformersSession":
        """Return a session on the loaded model; raises RefusedError if there can be none."""
        reason = self.refusal(model)
        if reason:
            raise RefusedError(reason)
        return TransformersSession(model, options, clock or SystemClock())


class TransformersSession:
    """A loaded model, ready to run batches."""

    def __init__(self, model: "LoadedModel", options: EngineOptions, clock: Clock) -> None:
        self.model = model
        self.options = options
        self.clock = clock
        self.precision = model.dtype
        self.notes: tuple[str, ...] = ()
        self.limits = token_limits(model, options)

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        """Return one prediction a text, in order; all texts run as one batch.

        Raises:
            WorkloadError: a text is empty, or has no mask for a masked model.
            OutOfMemoryError: the batch does not fit on the device.
        """
        use_threads(self.options.threads)
        start = self.clock.now()
        batch = encode(self.model, texts, self.limits)
        encoded = self.clock.now()
        with memory_errors_named(self.model, len(texts)):
            output = self._forward(batch)
        computed = self.clock.now()
        predictions = answers.read(self.model, output.numpy())
        if stages is not None:
            stages.encode_s.append(encoded - start)
            stages.forward_s.append(computed - encoded)
            stages.decode_s.append(self.clock.now() - computed)
        return predictions

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation, padding not counted."""
        return count_tokens(self.model, texts, self.limits)

    def close(self) -> None:
        """Nothing to free: the loaded model is the caller's."""

    def _forward(self, batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return on the CPU what the answers are read from: logits, vectors or token ids."""
        import torch

        inputs = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
        with torch.inference_mode():
            output = self._compute(inputs)
            return (output.float() if output.is_floating_point() else output).cpu()

    def _compute(self, inputs: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        network = self.model.model
        if self.model.kind in ("causal", "seq2seq"):
            new = self.options.new_tokens
            output = network.generate(**inputs, min_new_tokens=new, max_new_tokens=new)
            return output[:, -new:]
        if self.model.kind == "masked":
            rows, columns = answers.mask_positions(self.model, inputs["input_ids"].cpu().numpy())
            return network(**inputs).logits[rows, columns]
        if self.model.kind == "classifier":
            return network(**inputs).logits
        hidden = network(**inputs).last_hidden_state
        assert self.model.pooling is not None
        return self.model.pooling.apply(hidden, inputs["attention_mask"])
