"""Products in int8, in graphs small enough to read."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ivme.engines.onnx_int8 import quantize_weights

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(size=(16, 8)).astype(np.float32) * np.linspace(0.01, 10, 8, dtype=np.float32)
BIAS = RANDOM.normal(size=8).astype(np.float32)
TEXT = RANDOM.normal(size=(2, 3, 16)).astype(np.float32)
TOLERANCE = 1e-4  # of float32 sums: rounding to int8 is done the same way in `product`


def model_of(nodes: Sequence[onnx.NodeProto], **constants: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return x @ weight with both rounded to 8 bits: x as a whole, the weight by column."""
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = (high - low) / np.float32(255)
    zero = np.rint(-low / step)
    rounded = (np.clip(np.rint(x / step) + zero, 0, 255) - zero) * step
    steps = np.abs(weight).max(axis=0) / 127
    return rounded @ (np.rint(weight / steps) * steps)


def assert_close(ours: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_product_and_its_bias_become_one_operator() -> None:
    model = model_of(
        [
            helper.make_node("Identity", ["b"], ["same"]),
            helper.make_node("MatMul", ["x", "w"], ["product"]),
            helper.make_node("Add", ["same", "product"], ["y"]),
        ],
        w=WEIGHT,
        b=BIAS,
    )

    assert quantize_weights(model) == 1

    assert kinds(model) == ["Identity", "DynamicQuantizeLinear", "MatMulIntegerToFloat"]
    assert "w" not in {tensor.name for tensor in model.graph.initializer}
    assert_close(run(model, TEXT), product(TEXT, WEIGHT) + BIAS)


def test_products_of_one_activation_quantize_it_once() -> None:
    model = model_of(
        [
            helper.make_node("MatMul", ["x", "w"], ["left"]),
            helper.make_node("MatMul", ["x", "v"], ["right"]),
            helper.make_node("Add", ["left", "right"], ["y"]),
        ],
        w=WEIGHT,
        v=-3 * WEIGHT,
    )

    assert quantize_weights(model) == 2

    assert kinds(model).count("DynamicQuantizeLinear") == 1
    assert_close(run(model, TEXT), -2 * product(TEXT, WEIGHT))


@pytest.mark.parametrize("is_transposed", [False, True])
def test_a_gemm_is_a_product_with_its_bias(is_transposed: bool) -> None:
    weight = np.ascontiguousarray(WEIGHT.T) if is_transposed else WEIGHT
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=int(is_transposed))
    model = model_of([node], w=weight, b=BIAS)

    assert quantize_weights(model) == 1

    assert_close(run(model, TEXT[0]), product(TEXT[0], WEIGHT) + BIAS)


def test_a_bias_that_others_read_the_product_without_stays_apart() -> None:
    model = model_of(
        [
            helper.make_node("MatMul", ["x", "w"], ["product"]),
            helper.make_node("Add", ["product", "b"], ["shifted"]),
            helper.make_node("Mul", ["product", "shifted"], ["y"]),
        ],
        w=WEIGHT,
        b=BIAS,
    )

    quantize_weights(model)

    assert "Add" in kinds(model)
    exact = product(TEXT, WEIGHT)
    assert_close(run(model, TEXT), exact * (exact + BIAS))


def test_what_is_no_product_with_a_constant_matrix_stays_as_it_is() -> None:
    model = model_of(
        [
            helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["x", "turned"], ["scores"]),
            helper.make_node("Gemm", ["w", "v"], ["scaled"], alpha=0.5),
            helper.make_node("MatMul", ["x", "scaled"], ["other"]),
            helper.make_node("MatMul", ["scores", "other"], ["y"]),
        ],
        w=WEIGHT,
        v=np.eye(8, dtype=np.float32),
    )
    before = kinds(model)

    assert quantize_weights(model) == 0

    assert kinds(model) == before


def test_a_column_of_zeros_stays_zero() -> None:
    weight = WEIGHT.copy()
    weight[:, 3] = 0
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], w=weight)

    quantize_weights(model)

    output = run(model, TEXT)
    assert np.isfinite(output).all()
    assert (output[..., 3] == 0).all()
