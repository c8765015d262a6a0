"""The Transformers pipeline, built around the loaded model and called as its users call it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ivme.engines import answers
from ivme.engines.encoding import count_tokens, refuse_empty, token_limits
from ivme.engines.protocol import EngineOptions, Prediction, StageSeconds
from ivme.engines.torch_calls import memory_errors_named, use_threads
from ivme.errors import RefusedError, WorkloadError

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel

TASKS = {
    "classifier": "text-classification",
    "masked": "fill-mask",
    "causal": "text-generation",
    "embedding": "feature-extraction",
}


class PipelineEngine:
    """`transformers.pipeline(task)`, with truncation, padding and generation pinned."""

    name = "pipeline"
    summary = "the Transformers pipeline, as most programs call it"
    precisions: tuple[str, ...] = ("float32", "bfloat16", "float16")

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model, or None if it can."""
        if model.kind not in TASKS:
            return (
                f"Transformers 5 has no pipeline for {model.kind} models such as "
                f"{model.reference} (summarization, translation and text2text-generation are "
                "gone); use engine=transformers"
            )
        return answers.reason_for_no_answer(model)

    def prepare(self, model: "LoadedModel", options: EngineOptions) -> "PipelineSession":
        """Return a session on the loaded model; raises RefusedError if there can be none."""
        reason = self.refusal(model)
        if not reason and options.buckets:
            reason = "the pipeline pads by itself, not to buckets; use padding='dynamic' or 'fixed'"
        if not reason and options.precision not in (None, model.dtype):
            reason = (
                f"precision={options.precision!r}; a pipeline runs the model as it was loaded, in "
                f"{model.dtype}: load it with dtype={options.precision!r}, or use "
                "engine=transformers"
            )
        if reason:
            raise RefusedError(reason)
        return PipelineSession(model, options)


class PipelineSession:
    """A pipeline around a loaded model. It has no stages that could be timed one by one."""

    def __init__(self, model: "LoadedModel", options: EngineOptions) -> None:
        from transformers import pipeline

        from ivme.models.quiet import quiet_libraries

        self.model = model
        self.options = options
        self.precision = model.dtype
        self.notes: tuple[str, ...] = ()
        self.limits = token_limits(model, options)
        self._arguments = self._call_arguments()
        self._read = {
            "classifier": self._read_scores,
            "masked": self._read_word,
            "causal": self._read_text,
            "embedding": self._read_hidden,
        }[model.kind]
        with quiet_libraries():
            self._pipeline = pipeline(
                TASKS[model.kind],
                model=model.model,
                tokenizer=model.tokenizer,
                device=model.model.device,
            )

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        """Return one prediction a text, in order; all texts run as one batch.

        Raises:
            WorkloadError: a text is empty, or has no mask for a masked model.
            OutOfMemoryError: the batch does not fit on the device.
        """
        from transformers.pipelines.base import PipelineException

        refuse_empty(self.model, texts)
        use_threads(self.options.threads)
        self._pipeline.call_count = 0  # it lectures on data sets after ten calls
        try:
            with memory_errors_named(self.model, f"with batches of {len(texts)}"):
                outputs = self._pipeline(list(texts), batch_size=len(texts), **self._arguments)
        except PipelineException as error:
            raise WorkloadError(answers.no_mask(self.model)) from error
        if self.model.kind == "masked" and len(texts) == 1:
            outputs = [outputs]  # the one task that unpacks a list of one
        return self._read(outputs, texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation, padding not counted."""
        return count_tokens(self.model, texts, self.limits)

    def close(self) -> None:
        """Let go of the pipeline; the loaded model stays the caller's."""
        del self._pipeline

    def _call_arguments(self) -> dict[str, Any]:
        limits = self.limits.tokenizer_arguments()
        if self.model.kind == "classifier":
            return {"top_k": None, **limits}
        if self.model.kind == "masked":
            return {"top_k": 1, "tokenizer_kwargs": limits}
        if self.model.kind == "embedding":
            return {"return_tensors": True, "tokenize_kwargs": limits}
        return {
            "tokenizer_encode_kwargs": limits,
            "return_full_text": False,
            "do_sample": False,
            "num_beams": 1,
            "min_new_tokens": self.options.new_tokens,
            "max_new_tokens": self.options.new_tokens,
        }

    def _read_scores(self, outputs: list[Any], texts: Sequence[str]) -> list[Prediction]:
        import numpy as np

        predictions = []
        for output in outputs:
            scores = {entry["label"]: entry["score"] for entry in output}
            row = np.array([scores[label] for label in self.model.labels], dtype=np.float32)
            predictions.append(Prediction(label=output[0]["label"], probabilities=row))
        return predictions

    def _read_word(self, outputs: list[Any], texts: Sequence[str]) -> list[Prediction]:
        """Return the best word for the first mask of each text."""
        firsts = [output[0] for output in outputs]
        entries = [first[0] if isinstance(first, list) else first for first in firsts]
        return [Prediction(text=entry["token_str"].strip()) for entry in entries]

    def _read_text(self, outputs: list[Any], texts: Sequence[str]) -> list[Prediction]:
        return [Prediction(text=output[0]["generated_text"]) for output in outputs]

    def _read_hidden(self, outputs: list[Any], texts: Sequence[str]) -> list[Prediction]:
        """Pool the token vectors: the pipeline returns them all, padding included."""
        import torch

        assert self.model.pooling is not None
        predictions = []
        for hidden, length in zip(outputs, self.count_tokens(texts), strict=True):
            mask = torch.zeros(hidden.shape[:2], dtype=torch.long)
            if self.model.tokenizer.padding_side == "right":
                mask[:, :length] = 1
            else:
                mask[:, -length:] = 1
            vector = self.model.pooling.apply(hidden.cpu(), mask)[0].numpy()
            predictions.append(Prediction(vector=vector))
        return predictions
