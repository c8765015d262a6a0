"""torchao int8 for encoders on x86: int8 weights, activations quantized a token, compiled."""

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ivme.engines import answers
from ivme.engines.compile_engine import CompiledSession, refuse_compiling
from ivme.engines.network_copies import converted, with_replacements
from ivme.engines.protocol import EngineOptions
from ivme.engines.torch_calls import memory_errors_named, refuse_precision
from ivme.engines.traps import TORCHAO_PATTERNS, has_torchao_path, missing_torchao_path
from ivme.errors import RefusedError
from ivme.measure.clock import Clock, SystemClock

if TYPE_CHECKING:
    import torch

    from ivme.models.loading import LoadedModel

PRECISION = "int8"


class TorchaoEngine:
    """A copy of an encoder with torchao's int8 weights, run by torch.compile."""

    name = "torchao"
    summary = "torchao int8 with dynamic activations, compiled, for encoders on x86"
    precisions: tuple[str, ...] = (PRECISION,)

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model, or None if it can."""
        if model.device != "cpu":
            return f"engine=torchao quantizes for x86 processors here, not for {model.device}"
        if find_spec("torchao") is None:
            return "torchao is not installed: pip install torchao"
        return refuse_compiling(self.name, model) or answers.reason_for_no_answer(model)

    def prepare(
        self, model: "LoadedModel", options: EngineOptions, clock: Clock | None = None
    ) -> "TorchaoSession":
        """Return a session on a quantized copy of the model.

        Raises:
            RefusedError: it cannot run the model, or not in that precision.
            OutOfMemoryError: there is no memory for the copy.
        """
        reason = self.refusal(model) or refuse_precision(self, options.precision)
        if reason:
            raise RefusedError(reason)
        _register_patterns()
        return TorchaoSession(
            _quantized(model), options, clock or SystemClock(), precision=PRECISION
        )


class TorchaoSession(CompiledSession):
    """A compiled session that notes it if its int8 products did not become fast ones."""

    def _compute(self, inputs: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        output = super()._compute(inputs)
        if not self._network.packed_products:
            note = str(missing_torchao_path(False)[0])
            self.notes = tuple(dict.fromkeys([*self.notes, note]))
        return output


def _register_patterns() -> None:
    """Have torch.compile know torchao's int8 patterns, if this torchao has them.

    Importing their module registers them (github.com/pytorch/ao/issues/4823).
    """
    from ivme.models.quiet import quiet_libraries

    if has_torchao_path():
        with quiet_libraries():
            importlib.import_module(TORCHAO_PATTERNS)


def _quantized(model: "LoadedModel") -> "LoadedModel":
    """Return a copy of the model whose linear layers have int8 weights, all else float32."""
    from ivme.models.quiet import quiet_libraries

    with quiet_libraries():
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        copy = with_replacements(converted(model, "float32"), {})
        with memory_errors_named(model, "while it was quantized"):
            quantize_(copy.model, Int8DynamicActivationInt8WeightConfig())
    return copy
