"""ONNX files made faster: attention fused, weights and activations in int8.

Knows onnx and the tools of ONNX Runtime, and nothing of texts or models.
"""

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

QUANTIZED = ("MatMul", "Gemm")
PROTOBUF_LIMIT_BYTES = 2**31  # larger files keep their weights in a second one
# Operators of which each layer of an encoder should have one, by the names they may have.
EXPECTED = {
    "attention": ("MultiHeadAttention", "Attention"),
    "GELU": ("Gelu", "BiasGelu", "FastGelu"),
}


def fuse_encoder(source: Path, target: Path, *, heads: int, hidden_size: int) -> None:
    """Write `source` with its attention, GELU and layer norms as one operator each.

    Attention becomes MultiHeadAttention: the older Attention operator holds its projections too,
    and its quantized form took a quarter longer than products of their own. Norms are not joined
    with the additions before them for the same reason.
    """
    with _quiet_tools():
        from onnxruntime.transformers.fusion_options import FusionOptions
        from onnxruntime.transformers.optimizer import optimize_model

        options = FusionOptions("bert")
        options.use_multi_head_attention = True
        options.enable_skip_layer_norm = False
        options.enable_bias_skip_layer_norm = False
        options.enable_embed_layer_norm = False
        options.enable_bias_gelu = False
        fused = optimize_model(
            str(source),
            model_type="bert",
            num_heads=heads,
            hidden_size=hidden_size,
            opt_level=0,
            optimization_options=options,
        )
        fused.save_model_to_file(str(target), use_external_data_format=_is_large(source))


def fusions_missing(path: Path, *, layers: int) -> tuple[str, ...]:
    """Return what each layer of an encoder should have fused and has not: "attention (0 of 12)"."""
    import onnx

    operators = [node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node]
    found = {what: sum(operators.count(name) for name in names) for what, names in EXPECTED.items()}
    return tuple(f"{what} ({count} of {layers})" for what, count in found.items() if count < layers)


def quantize(source: Path, target: Path) -> None:
    """Write `source` with its weights in int8; activations follow at run time."""
    import onnx

    from ivme.engines.onnx_int8 import quantize_weights

    model = onnx.load(str(source))
    quantize_weights(model)
    onnx.save(model, str(target), **_external(source, target))


def quantize_static(
    source: Path, target: Path, batches: Iterable[Mapping[str, "np.ndarray"]]
) -> None:
    """Write `source` in int8 with the ranges that activations have on the batches."""
    with _quiet_tools():
        from onnxruntime import quantization

        quantization.quantize_static(
            str(source),
            str(target),
            _reader(batches),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            use_external_data_format=_is_large(source),
            extra_options=_extra_options(),
        )


def save_whole(source: Path, target: Path) -> None:
    """Write `source` as one file, or as two where protobuf's limit does not allow one."""
    import onnx

    model = onnx.load(str(source))
    onnx.save(model, str(target), **_external(source, target))


def _extra_options() -> dict[str, Any]:
    import onnx

    # Fusing leaves tensors without a type, on which the quantizer stops unless told.
    return {"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT}


def _is_large(path: Path) -> bool:
    """Return whether a model, with whatever lies beside it, is beyond what one file can hold."""
    files = (file for file in path.parent.iterdir() if file.is_file())
    return sum(file.stat().st_size for file in files) > PROTOBUF_LIMIT_BYTES


def _external(source: Path, target: Path) -> dict[str, Any]:
    if not _is_large(source):
        return {}
    return {
        "save_as_external_data": True,
        "all_tensors_to_one_file": True,
        "location": f"{target.name}.data",
    }


def _reader(batches: Iterable[Mapping[str, "np.ndarray"]]) -> Any:
    """Return the batches as the calibrator asks for them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        remaining = iter(batches)

        def get_next(self) -> Mapping[str, "np.ndarray"] | None:
            return next(self.remaining, None)

    return Reader()


@contextmanager
def _quiet_tools() -> Iterator[None]:
    """Silence the tools, which log to the root and put a handler there when imported."""
    import onnxruntime

    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, root.manager.disable
    logging.disable(logging.ERROR)
    onnxruntime.set_default_logger_severity(4)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)
