"""PyTorch with the weights of linear layers packed beforehand; nothing is compiled."""

from typing import TYPE_CHECKING

from ivme.engines import answers
from ivme.engines.network_copies import converted, with_replacements
from ivme.engines.protocol import EngineOptions
from ivme.engines.torch_calls import forward_inputs, memory_errors_named, refuse_precision
from ivme.engines.transformers_engine import TransformersSession
from ivme.errors import IvmeError, RefusedError
from ivme.measure.clock import Clock, SystemClock

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel

TRIAL_TEXT = "A text."
INT8_NOTE = (
    "int8 activations of a batch share one scale in each layer: an answer may depend on the other "
    "texts of its batch, and on padding"
)


class PrepackedEngine:
    """The model called by hand, its linear layers run by oneDNN or FBGEMM from packed weights."""

    name = "prepacked"
    summary = "PyTorch with linear layers packed for oneDNN, or int8 ones for FBGEMM; CPU"
    precisions: tuple[str, ...] = ("float32", "bfloat16", "int8")

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model, or None if it can."""
        import torch

        if model.device != "cpu":
            return f"engine=prepacked packs weights for processors, not for {model.device}"
        if not torch.backends.mkldnn.is_available():
            return f"torch {torch.__version__} is built without oneDNN; use engine=transformers"
        return answers.reason_for_no_answer(model)

    def prepare(
        self, model: "LoadedModel", options: EngineOptions, clock: Clock | None = None
    ) -> TransformersSession:
        """Return a session on a copy of the model with packed layers.

        Without a precision it computes in that of the loaded weights.

        Raises:
            RefusedError: it cannot run the model, or not in that precision.
            OutOfMemoryError: there is no memory for the packed weights.
        """
        precision = options.precision or model.dtype
        reason = self.refusal(model) or refuse_precision(self, precision) or _no_int8(precision)
        if reason:
            raise RefusedError(reason)
        packed = _packed(model, precision)
        _try(packed)
        notes = (INT8_NOTE,) if precision == "int8" else ()
        return TransformersSession(
            packed, options, clock or SystemClock(), precision=precision, notes=notes
        )


def _no_int8(precision: str) -> str | None:
    """Return why there is no int8 here, or None."""
    import torch

    from ivme.engines.prepacked_layers import INT8_LIBRARY

    supported = torch.backends.quantized.supported_engines
    if precision != "int8":
        return None
    if not hasattr(torch, "quantize_per_channel"):
        return f"torch {torch.__version__} has no quantized tensors; 2.13 has"
    if INT8_LIBRARY in supported:
        return None
    return (
        f"this torch quantizes by {', '.join(supported)}, not by {INT8_LIBRARY}; use "
        "engine=openvino:int8 or engine=onnxruntime:int8"
    )


def _packed(model: "LoadedModel", precision: str) -> "LoadedModel":
    """Return a copy of the model with packed layers, all else shared or converted."""
    from ivme.engines.prepacked_layers import packed_layers

    source = converted(model, "float32" if precision == "int8" else precision)
    with memory_errors_named(model, "while its weights were packed"):
        layers = packed_layers(source.model, precision)
    if not layers:
        raise RefusedError(f"{model.reference} has no linear layers to pack")
    return with_replacements(source, layers)


def _try(model: "LoadedModel") -> None:
    """Run the model once; raises RefusedError if it needs the weights of layers in plain layout."""
    import torch

    try:
        with torch.inference_mode():
            model.model(**forward_inputs(model, [TRIAL_TEXT]))
    except IvmeError:
        raise
    except Exception as error:  # its own code may do anything with its layers
        raise RefusedError(
            f"{model.reference} uses the weights of its linear layers in its own code "
            f"({type(error).__name__}), so they cannot be packed; use engine=transformers"
        ) from error
