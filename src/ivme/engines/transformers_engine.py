"""The manual path: tokenizer and model called directly, with nothing left to a default."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from ivme.engines import answers
from ivme.engines.encoding import count_tokens, encode, token_limits
from ivme.engines.network_copies import converted
from ivme.engines.protocol import EngineOptions, Prediction, StageSeconds
from ivme.engines.streaming import TokenStreamer, is_heard
from ivme.engines.torch_calls import memory_errors_named, refuse_precision, use_threads
from ivme.engines.traps import precision_traps
from ivme.errors import RefusedError
from ivme.measure.clock import Clock, SystemClock
from ivme.models.kinds import GENERATING

if TYPE_CHECKING:
    import torch

    from ivme.models.loading import LoadedModel

AUTOCAST = "autocast"


class TransformersEngine:
    """Tokenizer, one forward pass (or generate) in inference mode, numpy out."""

    name = "transformers"
    summary = "tokenizer and model called by hand in PyTorch, in inference mode"
    precisions: tuple[str, ...] = ("float32", "bfloat16", "float16", AUTOCAST)

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model, or None if it can."""
        return answers.reason_for_no_answer(model)

    def prepare(
        self, model: "LoadedModel", options: EngineOptions, clock: Clock | None = None
    ) -> "TransformersSession":
        """Return a session on the model, converted to a copy if the precision needs one.

        Raises:
            RefusedError: it cannot run the model, or not in that precision.
            OutOfMemoryError: there is no memory for the copy.
        """
        reason = self.refusal(model) or refuse_precision(self, options.precision)
        if reason:
            raise RefusedError(reason)
        precision = options.precision or model.dtype
        copy = converted(model, "float32" if precision == AUTOCAST else precision)
        return TransformersSession(copy, options, clock or SystemClock(), precision=precision)


class TransformersSession:
    """A model, ready to run batches.

    precision: what it computes in; under "autocast" matrix products run in bfloat16. notes: what
    the user should know beside the traps of that precision.
    """

    def __init__(
        self,
        model: "LoadedModel",
        options: EngineOptions,
        clock: Clock,
        *,
        precision: str,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.model = model
        self.options = options
        self.clock = clock
        self.precision = precision
        self.notes = (*notes, *(str(trap) for trap in precision_traps(precision, model.device)))
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
        with memory_errors_named(self.model, f"with batches of {len(texts)}"):
            output = self._forward(batch)
        computed = self.clock.now()
        predictions = answers.read(self.model, output.numpy())
        if stages is not None:
            stages.encode_s.append(encoded - start)
            stages.forward_s.append(computed - encoded)
            stages.decode_s.append(self.clock.now() - computed)
        return predictions

    def score(self, text: str) -> float:
        """Return the mean log-likelihood of the text's last tokens, as ScoringSession says."""
        import torch

        use_threads(self.options.threads)
        batch = encode(self.model, [text], self.limits)
        count = min(self.options.new_tokens, batch["input_ids"].shape[1] - 1)
        if not count:
            return 0.0
        inputs = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
        with (
            memory_errors_named(self.model, "with a single text"),
            torch.inference_mode(),
            self._precision_context(),
        ):
            logits = self.model.model(**inputs).logits[0, -count - 1 : -1].double()
        targets = inputs["input_ids"][0, -count:].unsqueeze(1)
        return float(logits.log_softmax(dim=-1).gather(1, targets).mean())

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation, padding not counted."""
        return count_tokens(self.model, texts, self.limits)

    def close(self) -> None:
        """Let go of the network; the loaded model stays the caller's."""
        del self.model

    def _forward(self, batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return on the CPU what the answers are read from: logits, vectors or token ids."""
        import torch

        inputs = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
        with torch.inference_mode(), self._precision_context():
            output = self._compute(inputs)
            return (output.float() if output.is_floating_point() else output).cpu()

    def _precision_context(self) -> AbstractContextManager[object]:
        import torch

        if self.precision != AUTOCAST:
            return nullcontext()
        return torch.autocast(torch.device(self.model.device).type, torch.bfloat16)

    def _compute(self, inputs: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        network = self.model.model
        if self.model.kind in GENERATING:
            new = self.options.new_tokens
            output = network.generate(
                **inputs,
                min_new_tokens=new,
                max_new_tokens=new,
                streamer=TokenStreamer() if is_heard() else None,
            )
            return output[:, -new:]
        if self.model.kind == "masked":
            rows, columns = answers.mask_positions(self.model, inputs["input_ids"].cpu().numpy())
            return network(**inputs).logits[rows, columns]
        if self.model.kind == "classifier":
            return network(**inputs).logits
        hidden = network(**inputs).last_hidden_state
        assert self.model.pooling is not None
        return self.model.pooling.apply(hidden, inputs["attention_mask"])
