"""Products through OpenVINO on the processor, with the precision that it really used."""

from functools import partial
from typing import TYPE_CHECKING, Any

from ivme.errors import RefusedError
from ivme.hardware.products.product import (
    PreparedProduct,
    ProductPath,
    float_operands,
    integer_operands,
)
from ivme.hardware.signal_stack import kept_signal_stack
from ivme.hardware.threads import ThreadSettings, openvino_config

if TYPE_CHECKING:
    import numpy as np

PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "u8": "int8", "i8": "int8"}
SCALE = 0.01  # of the int8 weights
ACTIVATION_RANGE = 1.0  # the int8 activations stand for [-1, 1]


def paths() -> tuple[ProductPath, ...]:
    """Return OpenVINO's ways: fp32, bf16, and int8 through FakeQuantize as NNCF writes it."""
    how = {
        "fp32": "MatMul, hint f32",
        "bf16": "MatMul, hint bf16",
        "int8": "FakeQuantize + MatMul",
    }
    return tuple(
        ProductPath(
            name=f"openvino-{precision}",
            library="openvino",
            precision=precision,
            how=text,
            prepare=partial(_prepare, precision),
        )
        for precision, text in how.items()
    )


def default_precision() -> str:
    """Return the precision that OpenVINO runs fp32 models in when nobody says one."""
    from openvino import Core

    with kept_signal_stack():
        compiled = Core().compile_model(_model("fp32", 16)[0], "CPU")
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return PRECISIONS.get(hint, hint)


def _prepare(precision: str, size: int, threads: int) -> PreparedProduct:
    from openvino import Core, Tensor

    model, left = _model(precision, size)
    hint = "bf16" if precision == "bf16" else "f32"
    config = openvino_config(ThreadSettings(intra=threads)) | {"INFERENCE_PRECISION_HINT": hint}
    with kept_signal_stack():
        compiled = Core().compile_model(model, "CPU", config)
    ran_in = _precision_used(compiled)
    if ran_in != precision:
        raise RefusedError(f"OpenVINO ran it in {ran_in}: no fast {precision} on this processor")
    request = compiled.create_infer_request()
    request.set_input_tensor(Tensor(left, shared_memory=True))
    return PreparedProduct(
        run=request.infer,
        result=lambda: request.get_output_tensor().data,
        ran_in=ran_in,
        keeps=(left,),  # the tensor shares its memory
    )


def _model(precision: str, size: int) -> "tuple[Any, np.ndarray]":
    """Return a model of one product, and its input."""
    import numpy as np
    from openvino import Model
    from openvino import opset13 as ops

    def scalar(value: float) -> Any:
        return ops.constant(np.float32(value))

    left, right = float_operands(size)
    parameter = ops.parameter([size, size], np.float32, name="left")
    if precision == "int8":
        _, integers = integer_operands(size)
        bounds = [scalar(-ACTIVATION_RANGE), scalar(ACTIVATION_RANGE)] * 2
        activations = ops.fake_quantize(parameter, *bounds, 256)
        weights = ops.multiply(ops.convert(ops.constant(integers.T.copy()), "f32"), scalar(SCALE))
        product = ops.matmul(activations, weights, False, True)
    else:
        product = ops.matmul(parameter, ops.constant(right.T.copy()), False, True)
    return Model([product], [parameter], "product"), left


def _precision_used(compiled: Any) -> str:
    """Return the precision of the product in the graph that OpenVINO executes."""
    for node in compiled.get_runtime_model().get_ordered_ops():
        information = node.get_rt_info()
        if information["layerType"].value in ("FullyConnected", "MatMul"):
            used = information["runtimePrecision"].value
            return PRECISIONS.get(used, used)
    raise RefusedError("OpenVINO's executed graph holds no matrix product to read back")
