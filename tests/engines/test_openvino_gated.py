import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from openvino import opset13 as operations
from transformers import LlamaConfig, LlamaForCausalLM

from ivme.engines.openvino_export import convert, save
from ivme.engines.openvino_gated import keep_gated_layers_apart
from ivme.engines.openvino_quiet import quiet_openvino

WIDTH, INSIDE, VOCABULARY = 64, 256, 300

# In a process of its own: what goes wrong there ends it.
COMPILE = """
import sys
from pathlib import Path
import numpy as np
from ivme.engines.openvino_runtime import CompiledNetwork
from ivme.engines.protocol import EngineOptions
options = EngineOptions(threads=int(sys.argv[2]), precision="bfloat16")
(found,) = CompiledNetwork(Path(sys.argv[1]), options).infer({"ids": np.load(sys.argv[3])})
np.save(sys.argv[4], found)
"""


def network(activation: str) -> openvino.Model:
    """A gated layer as Llama has it, [B, T, D] to [B, T, D]."""
    draw = np.random.default_rng(0)
    states = operations.parameter([-1, -1, WIDTH], np.float32)

    def product(inputs, size_in: int, size_out: int):
        values = draw.normal(0, size_in**-0.5, (size_out, size_in)).astype(np.float32)
        return operations.matmul(inputs, operations.constant(values), False, True)

    gate = product(states, WIDTH, INSIDE)
    acted = operations.swish(gate) if activation == "swish" else operations.gelu(gate, "erf")
    gated = operations.multiply(acted, product(states, WIDTH, INSIDE))
    return openvino.Model([operations.result(product(gated, INSIDE, WIDTH))], [states])


def answers(model: openvino.Model, states: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([states])[0]


def some_states() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 9, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("activation", ["swish", "gelu"])
def test_a_bound_comes_between_the_gate_and_the_product_and_changes_no_number(activation):
    model, states = network(activation), some_states()
    expected = answers(model, states)
    assert keep_gated_layers_apart(model) == 1
    (clamp,) = [node for node in model.get_ops() if node.get_type_name() == "Clamp"]
    assert clamp.input_value(0).get_node().get_type_name() == "Multiply"
    assert [one.get_node().get_type_name() for one in clamp.output(0).get_target_inputs()] == [
        "MatMul"
    ]
    assert np.array_equal(answers(model, states), expected)
    assert keep_gated_layers_apart(model) == 0  # it is there already


def test_a_network_without_a_gate_stays_as_it_is():
    states = operations.parameter([-1, -1, WIDTH], np.float32)
    table = operations.constant(np.eye(WIDTH, dtype=np.float32))
    model = openvino.Model(
        [operations.matmul(operations.multiply(states, states), table, False, True)], [states]
    )
    assert keep_gated_layers_apart(model) == 0


class Llama(torch.nn.Module):
    """One layer of Llama, ids [B, T] to logits; the kernel is for networks with attention."""

    def __init__(self) -> None:
        super().__init__()
        config = LlamaConfig(
            hidden_size=WIDTH,
            intermediate_size=INSIDE,
            num_hidden_layers=1,
            num_attention_heads=4,
            vocab_size=VOCABULARY,
        )
        self.model = LlamaForCausalLM(config).eval()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = torch.ones_like(ids)
        return self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits


def test_one_thread_computes_llama_in_bfloat16(tmp_path: Path):
    torch.manual_seed(0)
    llama, path = Llama(), tmp_path / "model.xml"
    ids = torch.randint(0, VOCABULARY, (2, 9))
    with torch.inference_mode():
        exact = llama(ids).numpy()
    with quiet_openvino():
        save(convert(llama, {"ids": ids}), path)
    np.save(tmp_path / "ids.npy", ids.numpy())
    for threads in (1, 2):
        places = (path, threads, tmp_path / "ids.npy", tmp_path / "found.npy")
        result = subprocess.run(
            [sys.executable, "-c", COMPILE, *map(str, places)], capture_output=True, text=True
        )
        assert result.returncode == 0, (threads, result.returncode, result.stderr)
        assert np.abs(np.load(tmp_path / "found.npy") - exact).max() < 0.05 * exact.std()
