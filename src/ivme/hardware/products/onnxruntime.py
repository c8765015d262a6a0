"""Products through ONNX Runtime on the processor."""

from functools import partial
from typing import TYPE_CHECKING, Any

from ivme.hardware.products.product import (
    PreparedProduct,
    ProductPath,
    float_operands,
    integer_operands,
)
from ivme.hardware.threads import ThreadSettings, onnxruntime_session_options

if TYPE_CHECKING:
    import numpy as np


def paths() -> tuple[ProductPath, ...]:
    """Return ONNX Runtime's ways: fp32, and int8 in the three forms that quantizers write."""
    fp32 = ProductPath(
        name="onnxruntime-fp32",
        library="onnxruntime",
        precision="fp32",
        how="MatMul",
        prepare=_prepare_fp32,
    )
    integer = [
        ProductPath(
            name=f"onnxruntime-int8-{name}",
            library="onnxruntime",
            precision="int8",
            how=f"MatMulInteger {name.upper()}",
            prepare=partial(_prepare_integer, left_type),
        )
        for name, left_type in (("u8s8", "uint8"), ("s8s8", "int8"))
    ]
    dynamic = ProductPath(
        name="onnxruntime-int8-dynamic",
        library="onnxruntime",
        precision="int8",
        how="dynamic quantization, U8S8",
        prepare=_prepare_dynamic,
    )
    return (fp32, *integer, dynamic)


def _prepare_fp32(size: int, threads: int) -> PreparedProduct:
    from onnx.helper import make_node

    left, right = float_operands(size)
    nodes = [make_node("MatMul", ["left", "right"], ["out"])]
    return _prepare(nodes, left, right, "float32", threads, "fp32")


def _prepare_integer(left_type: str, size: int, threads: int) -> PreparedProduct:
    from onnx.helper import make_node

    left, right = integer_operands(size, left_type)
    nodes = [make_node("MatMulInteger", ["left", "right"], ["out"])]
    return _prepare(nodes, left, right, "int32", threads, "int8")


def _prepare_dynamic(size: int, threads: int) -> PreparedProduct:
    """Prepare what quantize_dynamic writes: fp32 in, quantized on the way, fp32 out."""
    from onnx import TensorProto
    from onnx.helper import make_node

    left, _ = float_operands(size)
    _, right = integer_operands(size)
    nodes = [
        make_node("DynamicQuantizeLinear", ["left"], ["quantized", "scale", "zero"]),
        make_node("MatMulInteger", ["quantized", "right", "zero"], ["sums"]),
        make_node("Cast", ["sums"], ["float_sums"], to=TensorProto.FLOAT),
        make_node("Mul", ["float_sums", "scale"], ["out"]),
    ]
    return _prepare(nodes, left, right, "float32", threads, "int8")


def _prepare(
    nodes: list[Any],
    left: "np.ndarray",
    right: "np.ndarray",
    out_type: str,
    threads: int,
    ran_in: str,
) -> PreparedProduct:
    """Return a product of a graph with input `left`, constant `right` and output `out`."""
    import numpy as np
    import onnxruntime
    from onnx.helper import make_graph, make_model, make_opsetid, make_tensor_value_info
    from onnx.helper import np_dtype_to_tensor_dtype as element_type
    from onnx.numpy_helper import from_array

    out = np.empty((len(left), right.shape[1]), out_type)
    graph = make_graph(
        nodes,
        "product",
        [make_tensor_value_info("left", element_type(left.dtype), left.shape)],
        [make_tensor_value_info("out", element_type(out.dtype), out.shape)],
        [from_array(right, "right")],
    )
    model = make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(),
        onnxruntime_session_options(ThreadSettings(intra=threads)),
        providers=["CPUExecutionProvider"],
    )
    # Bound buffers: a new output in every call would time the page faults too.
    binding = session.io_binding()
    binding.bind_cpu_input("left", left)
    binding.bind_output("out", "cpu", 0, out.dtype, out.shape, out.ctypes.data)
    return PreparedProduct(
        run=lambda: session.run_with_iobinding(binding),
        result=lambda: out,
        ran_in=ran_in,
        keeps=(left, out),  # the binding holds their addresses only
    )
