"""Encoders in int8 by kernels of our own: whole layers in C++, texts side by side unpadded."""

from pathlib import Path
from typing import TYPE_CHECKING

from ivme.engines import answers
from ivme.engines.artefacts import cached_artefact
from ivme.engines.protocol import EngineOptions, Session
from ivme.engines.torch_calls import refuse_precision
from ivme.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from ivme.models.interface import TextModel
    from ivme.models.loading import LoadedModel

FORMAT = "1"  # raise it when what the files hold changes


class FusedEngine:
    """BERT-like encoders: products in int8 (VNNI or AMX), attention in bfloat16, the rest in fp32.

    Activations are quantized as they come, with a scale and a lowest value for each token, so that
    an answer depends on nothing but its text.
    """

    name = "fused"
    summary = "BERT-like encoders in int8 by kernels of our own, for AVX-512 VNNI and AMX"
    precisions: tuple[str, ...] = ("int8",)

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model here, or None if it can."""
        from ivme.engines.fused_networks import unknown_network

        if model.device != "cpu":
            return f"engine=fused runs on the processor, and {model.reference} is on {model.device}"
        if model.dtype != "float32":
            return (
                f"{model.reference} was loaded in {model.dtype}; load it with dtype=float32, which "
                "engine=fused quantizes"
            )
        return _no_instructions() or answers.reason_for_no_answer(model) or unknown_network(model)

    def prepare(self, model: "LoadedModel", options: EngineOptions) -> Session:
        """Return a session on the model's artefact, built at first use.

        Raises:
            RefusedError: the model is of another kind, or the processor lacks the instructions.
        """
        if reason := self.refusal(model):
            raise RefusedError(reason)
        return self.open(cached_artefact(self, model, options), model, options)

    def versions(self) -> dict[str, str]:
        """Return what the files depend on."""
        return {"build": FORMAT}

    def stored_precision(self, options: EngineOptions) -> str:
        """Return the precision of the files: the one that is asked for."""
        return options.precision or self.precisions[0]

    def build(self, model: "LoadedModel", options: EngineOptions, folder: Path) -> None:
        """Write the quantized weights into an empty folder; raises RefusedError if it cannot."""
        from ivme.engines.fused_weights import write_weights

        if reason := self.refusal(model):
            raise RefusedError(reason)
        write_weights(model, folder)

    def open(self, folder: Path, model: "TextModel", options: EngineOptions) -> Session:
        """Return a session on the artefact in the folder, without PyTorch.

        On a processor without the instructions NumPy computes it, and a note says so.

        Raises:
            RefusedError: there is no such precision.
            UsageError: the folder holds no such artefact.
        """
        from ivme.engines.fused_session import FusedSession

        if reason := refuse_precision(self, options.precision):
            raise RefusedError(reason)
        try:
            return FusedSession(folder, model, options)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{folder} holds no artefact of engine=fused ({error}); make it again"
            ) from error


def _no_instructions() -> str | None:
    """Return why the kernels do not run on this processor, or None if they do."""
    from ivme._encoder import instruction_sets

    if instruction_sets():
        return None
    return "engine=fused needs AVX-512 with VNNI, which this processor lacks; use engine=openvino"
