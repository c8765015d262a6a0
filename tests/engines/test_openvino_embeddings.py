import numpy as np
import openvino
import pytest
from openvino import opset13 as operations

from ivme.engines.openvino_embeddings import look_up_before_scaling

ROWS, WIDTH = 50, 8


def network(rows: np.ndarray, axis: int = 0) -> openvino.Model:
    """An embedding as NNCF leaves it: rows of int8, scaled row by row, then looked up."""
    scales = np.linspace(0.01, 0.1, ROWS, dtype=np.float32)[:, None]
    numbers = operations.parameter([-1, -1], np.int64, name="ids")
    scaled = operations.multiply(operations.convert(operations.constant(rows), "f32"), scales)
    looked_up = operations.gather(scaled, numbers, np.int64(axis))
    return openvino.Model([operations.result(looked_up)], [numbers])


def answers(model: openvino.Model) -> np.ndarray:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([np.array([[0, 3, 7], [49, 3, 0]]) % WIDTH])[0]


def scaled_numbers(model: openvino.Model) -> list[list[int]]:
    return [
        [size.get_length() if size.is_static else -1 for size in node.get_output_partial_shape(0)]
        for node in model.get_ops()
        if node.get_type_name() == "Multiply"
    ]


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_rows_are_scaled_after_the_lookup_with_the_same_numbers(kind: type) -> None:
    rows = np.random.default_rng(0).integers(0, 127, (ROWS, WIDTH)).astype(kind)
    model = network(rows)
    expected = answers(model)

    assert look_up_before_scaling(model) == 1
    assert scaled_numbers(model) == [[-1, -1, WIDTH]]
    np.testing.assert_array_equal(answers(model), expected)


def test_what_is_no_lookup_of_int8_rows_stays() -> None:
    rows = np.ones((ROWS, WIDTH))
    assert look_up_before_scaling(network(rows.astype(np.float32))) == 0
    assert look_up_before_scaling(network(rows.astype(np.int8), axis=1)) == 0
