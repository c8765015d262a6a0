"""Networks of OpenVINO that read one position of each text; the untouched one answers truly."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as operations

from ivme.engines.openvino_encoder import MODEL_FILE
from ivme.engines.openvino_engine import OpenVinoEngine
from ivme.engines.openvino_narrowing import compute_picked_positions_alone
from ivme.engines.protocol import EngineOptions
from ivme.models.loading import LoadedModel

HEADS, SIZE = 2, 4
WIDTH = HEADS * SIZE
TOLERANCE = 1e-6  # float32 sums in another order
Build = Callable[[], openvino.Model]


def dense(source: openvino.Node, seed: int, width: int = WIDTH) -> openvino.Node:
    weights = np.random.default_rng(seed).normal(size=(width, WIDTH)).astype(np.float32)
    return operations.matmul(source, weights, False, True)


def heads(source: openvino.Node) -> openvino.Node:
    apart = operations.reshape(source, np.array([0, 0, HEADS, SIZE]), True)
    return operations.transpose(apart, np.array([0, 2, 1, 3]))


def layer(states: openvino.Node, mask: openvino.Node, is_causal: bool = False) -> openvino.Node:
    """Attention, its output added to what it read, normalized and activated: [B, T, D]."""
    query, key, value = (heads(dense(states, seed)) for seed in range(3))
    if is_causal:
        found = operations.scaled_dot_product_attention(query, key, value, causal=True)
    else:
        found = operations.scaled_dot_product_attention(query, key, value, mask)
    joined = operations.transpose(found, np.array([0, 2, 1, 3]))
    attended = dense(operations.reshape(joined, np.array([0, 0, WIDTH]), True), 3)
    normal = operations.mvn(operations.add(attended, states), [-1], True, 1e-5, "inside_sqrt")
    return operations.gelu(operations.multiply(normal, np.full(WIDTH, 2, np.float32)), "erf")


def inputs() -> tuple[openvino.Node, openvino.Node]:
    states = operations.parameter([-1, -1, WIDTH], np.float32, name="states")
    return states, operations.parameter([-1, 1, -1, -1], np.float32, name="mask")


def reads_first(states: openvino.Node) -> openvino.Node:
    return operations.gather(states, np.int64(0), np.int64(1))


def first_position() -> openvino.Model:
    states, mask = inputs()
    read = reads_first(layer(layer(states, mask), mask))
    return openvino.Model([operations.result(dense(read, 4, 3))], [states, mask])


def a_position_of_each_row() -> openvino.Model:
    """As a masked model does it: a head for all positions, of which one is gathered."""
    states, mask = inputs()
    positions = operations.parameter([-1], np.int64, name="positions")
    index = operations.unsqueeze(positions, np.array([1, 2]))
    head = dense(layer(states, mask), 4)
    rows = operations.gather(operations.shape_of(positions), np.array([0]), np.int64(0))
    shape = operations.concat([rows, np.array([1, WIDTH])], 0)
    picked = operations.gather_elements(head, operations.broadcast(index, shape), 1)
    return openvino.Model([operations.result(picked)], [states, mask, positions])


def answers(model: openvino.Model) -> np.ndarray:
    random = np.random.default_rng(0)
    batch = {
        "states": random.normal(size=(3, 5, WIDTH)).astype(np.float32),
        "mask": np.where(random.random((3, 1, 5, 5)) < 0.3, -1e4, 0).astype(np.float32),
        "positions": np.array([1, 0, 4]),
    }
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled({port.any_name: batch[port.any_name] for port in compiled.inputs})[0]


def computed_alone(model: openvino.Model) -> int:
    """Return how many products run for one position of each text."""
    products = (node for node in model.get_ops() if node.get_type_name() == "MatMul")
    shapes = [node.get_output_partial_shape(0) for node in products]
    return sum(len(shape) == 3 and shape[1] == 1 for shape in shapes)


@pytest.mark.parametrize(
    ("build", "alone"),
    # query and output of the last attention, and the head
    [(first_position, 2), (a_position_of_each_row, 3)],
)
def test_what_is_read_at_one_position_is_computed_there_alone_with_the_same_answers(
    build: Build, alone: int
) -> None:
    model = build()
    expected = answers(model)

    assert len(compute_picked_positions_alone(model)) == alone + 1  # with the attention
    assert computed_alone(model) == alone
    np.testing.assert_allclose(answers(model), expected, rtol=TOLERANCE, atol=TOLERANCE)


def read_by_all() -> openvino.Model:
    states, mask = inputs()
    last = layer(states, mask)
    everything = operations.result(last)
    return openvino.Model([operations.result(reads_first(last)), everything], [states, mask])


def causal_attention() -> openvino.Model:
    states, mask = inputs()
    last = layer(states, mask, is_causal=True)
    return openvino.Model([operations.result(reads_first(last))], [states])


def normalized_over_positions() -> openvino.Model:
    states, _ = inputs()
    return openvino.Model([operations.result(reads_first(operations.softmax(states, 1)))], [states])


def mean_of_states() -> openvino.Model:
    """As a mean under shares of each position is often written: [B, 1, T] times [B, T, D]."""
    states, mask = inputs()
    shares = operations.gather(mask, np.int64(0), np.int64(2))  # [B, 1, T]
    return openvino.Model(
        [operations.result(reads_first(operations.matmul(shares, states, False, False)))],
        [states, mask],
    )


@pytest.mark.parametrize("build", [read_by_all, normalized_over_positions, mean_of_states])
def test_what_needs_all_positions_stays(build: Build) -> None:
    model = build()
    expected = answers(model)

    assert compute_picked_positions_alone(model) == ()
    np.testing.assert_array_equal(answers(model), expected)


def test_causal_attention_stays_whole_and_what_follows_it_does_not() -> None:
    model = causal_attention()
    expected = answers(model)

    assert len(compute_picked_positions_alone(model)) == 1
    assert computed_alone(model) == 1
    np.testing.assert_allclose(answers(model), expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_the_files_of_a_classifier_compute_its_first_token_alone_at_the_end(
    models: dict[str, LoadedModel], tmp_path: Path
) -> None:
    OpenVinoEngine().build(models["classifier"], EngineOptions(threads=1), tmp_path)

    # query, output and both products of the feed-forward part of the last layer
    assert computed_alone(openvino.Core().read_model(tmp_path / MODEL_FILE)) == 4
