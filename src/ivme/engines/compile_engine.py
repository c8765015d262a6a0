"""torch.compile (inductor) for encoders: operators fused into C++, weights frozen in."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ivme.engines import answers
from ivme.engines.network_copies import converted
from ivme.engines.protocol import EngineOptions
from ivme.engines.torch_calls import refuse_precision
from ivme.engines.transformers_engine import AUTOCAST, TransformersSession
from ivme.engines.traps import find_compiler, missing_compiler
from ivme.errors import RefusedError
from ivme.measure.clock import Clock, SystemClock
from ivme.models.kinds import GENERATING

if TYPE_CHECKING:
    import torch

    from ivme.models.loading import LoadedModel

SURPLUS_NOTE = (
    "the model was compiled again for shapes of a kind that was compiled before; such calls wait "
    "for it"
)


class CompileEngine:
    """The network of an encoder, compiled at the first call; later calls take any shape."""

    name = "compile"
    summary = "torch.compile with frozen weights, for encoders; the first call compiles"
    precisions: tuple[str, ...] = ("float32", AUTOCAST, "bfloat16")

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model, or None if it can."""
        return refuse_compiling(self.name, model) or answers.reason_for_no_answer(model)

    def prepare(
        self, model: "LoadedModel", options: EngineOptions, clock: Clock | None = None
    ) -> "CompiledSession":
        """Return a session on the model, or on a copy of it in the precision asked for.

        Raises:
            RefusedError: it cannot run the model, or not in that precision.
            OutOfMemoryError: there is no memory for the copy.
        """
        precision = options.precision or model.dtype
        reason = self.refusal(model) or refuse_precision(self, precision)
        if reason:
            raise RefusedError(reason)
        copy = converted(model, "float32" if precision == AUTOCAST else precision)
        return CompiledSession(copy, options, clock or SystemClock(), precision=precision)


class CompiledSession(TransformersSession):
    """An encoder whose network runs compiled."""

    def __init__(
        self,
        model: "LoadedModel",
        options: EngineOptions,
        clock: Clock,
        *,
        precision: str,
        notes: tuple[str, ...] = (),
    ) -> None:
        from ivme.engines.compiled_network import CompiledNetwork
        from ivme.engines.networks import encoder_inputs, encoder_network

        super().__init__(model, options, clock, precision=precision, notes=notes)
        self._names = encoder_inputs(model)
        self._network = CompiledNetwork(encoder_network(model))

    def close(self) -> None:
        """Free the compiled code and the weights in it; the loaded model stays the caller's."""
        self._network.close()
        super().close()

    def _compute(self, inputs: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        if self.model.kind == "masked":  # refuses texts without a mask
            answers.mask_positions(self.model, inputs["input_ids"].cpu().numpy())
        output = self._network([inputs[name] for name in self._names])
        if self._network.surplus_forms and SURPLUS_NOTE not in self.notes:
            self.notes = (*self.notes, SURPLUS_NOTE)
        return output


def refuse_compiling(engine: str, model: "LoadedModel") -> str | None:
    """Return why torch.compile cannot run the model here, or None if it can."""
    if model.kind in GENERATING:
        return (
            f"engine={engine} compiles encoders; the cache of a {model.kind} model grows with each "
            "text, and torch.compile compiles anew for each length or reads out of bounds; use "
            "engine=prepacked"
        )
    if model.device == "cpu" and find_compiler() is None:
        trap = missing_compiler()[0]
        return f"engine={engine}: {trap.found}. {trap.action}"
    if model.device.startswith("cuda") and find_spec("triton") is None:
        return f"engine={engine} needs triton on {model.device}: pip install 'ivme[gpu]'"
    return None
