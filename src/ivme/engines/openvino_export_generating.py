"""Generating models to OpenVINO's files: keys and values stay inside, as the model's state."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.engines.openvino_export import check_same, compressed, conversion, convert, save
from ivme.engines.openvino_generating import (
    DECODER_FILE,
    ENCODER_FILE,
    STATE_ORDER,
    cross_names,
)
from ivme.engines.protocol import EngineOptions
from ivme.models.interface import generation_ids

if TYPE_CHECKING:
    import torch

    from ivme.models.loading import LoadedModel

BATCH, PAST, SOURCE = 2, 4, 5  # of the tensors that conversion follows through the network
Shapes = Sequence[tuple[int, int]]


def write_generating(model: "LoadedModel", options: EngineOptions, folder: Path) -> dict[str, Any]:
    """Write a causal or seq2seq model; return the token ids that generating needs, and notes.

    Raises:
        RefusedError: OpenVINO cannot convert it, or it keeps more than keys and values.
    """
    from ivme.engines.networks import cache_shapes

    with conversion(model, options):
        shapes = cache_shapes(model)
        parts = _causal(model, shapes) if model.kind == "causal" else _seq2seq(model, shapes)
        for name, network in parts.items():
            save(compressed(network, options.precision), folder / name)
    return {"notes": (), "generation": generation_ids(model)}


def _causal(model: "LoadedModel", shapes: Shapes) -> dict[str, Any]:
    import torch

    from ivme.engines.networks import CausalStep

    new = 3  # tokens at a time: one function is prefill and decoding
    example = {
        "input_ids": _ids(BATCH, new),
        "attention_mask": torch.ones((BATCH, PAST + new), dtype=torch.int64),
        **_states("past", shapes, PAST),
    }
    step = CausalStep(model.model)
    network = convert(step, example)
    check_same(network, step, example, model)
    keep_states(network, len(shapes), "input_ids")
    check_same(network, step, _left_padded(shapes), model)  # rows that see nothing but padding
    return {DECODER_FILE: network}


def _seq2seq(model: "LoadedModel", shapes: Shapes) -> dict[str, Any]:
    import torch

    from ivme.engines.networks import Seq2seqStep
    from ivme.engines.openvino_networks import Seq2seqEncoder

    mask = torch.ones((BATCH, SOURCE), dtype=torch.int64)
    mask[0, -2:] = 0
    texts = {"input_ids": _ids(BATCH, SOURCE), "attention_mask": mask}
    encoder = Seq2seqEncoder(model.model, shapes)
    encoder_network = convert(encoder, texts)
    check_same(encoder_network, encoder, texts, model)
    example = {
        "decoder_input_ids": _ids(BATCH, 1),
        "attention_mask": mask,
        **_states("past", shapes, PAST),
        **dict(zip(cross_names(len(shapes)), _states("", shapes, SOURCE).values(), strict=True)),
    }
    step = Seq2seqStep(model.model)
    decoder_network = convert(step, example)
    check_same(decoder_network, step, example, model)
    keep_states(decoder_network, len(shapes), "decoder_input_ids")
    return {ENCODER_FILE: encoder_network, DECODER_FILE: decoder_network}


def keep_states(network: Any, count: int, batch_input: str) -> None:
    """Turn the inputs past.N and the last `count` outputs into states inside the network.

    Each state passes a Gather by the input STATE_ORDER, as beams would need it: OpenVINO's CPU
    plugin merges state, concatenation and attention into one operation only where it finds one.
    """
    import numpy as np
    from openvino import opset13 as ops
    from openvino._offline_transformations import apply_make_stateful_transformation

    order = ops.parameter([-1], np.int32, name=STATE_ORDER)
    order.output(0).get_tensor().set_names({STATE_ORDER})
    network.add_parameters([order])
    pairs = {}
    for number, output in enumerate(network.outputs[-count:]):
        past = network.input(f"past.{number}")
        readers = past.get_target_inputs()
        ordered = ops.gather(past, order, ops.constant(np.int64(0)))
        for reader in readers:
            reader.replace_source_output(ordered.output(0))
        output.get_tensor().set_names({f"present.{number}"})
        pairs[f"past.{number}"] = f"present.{number}"
    network.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(network, pairs)
    _start_empty(network, batch_input)


def _start_empty(network: Any, batch_input: str) -> None:
    """Let every state begin with length 0 and as many rows as the batch has."""
    import numpy as np
    from openvino import opset13 as ops

    shape = ops.shape_of(network.input(batch_input), output_type="i64")
    first = ops.constant(np.array([0], dtype=np.int64))
    rows = ops.gather(shape, first, ops.constant(np.int64(0)))
    for read in [node for node in network.get_ops() if node.get_type_name() == "ReadValue"]:
        _, heads, _, size = read.get_output_partial_shape(0)
        rest = np.array([heads.get_length(), 0, size.get_length()], dtype=np.int64)
        zeros = ops.broadcast(
            ops.constant(np.float32(0)), ops.concat([rows, ops.constant(rest)], axis=0)
        )
        read.set_arguments([zeros])
    network.validate_nodes_and_infer_types()


def _ids(rows: int, columns: int) -> "torch.Tensor":
    import torch

    return torch.arange(1, rows * columns + 1).reshape(rows, columns)


def _states(prefix: str, shapes: Shapes, length: int) -> "dict[str, torch.Tensor]":
    """Return states of ones over their number, [B, H, length, D]: different ones differ."""
    import torch

    return {
        f"{prefix}.{number}": torch.full((BATCH, heads, length, size), 1 / (1 + number))
        for number, (heads, size) in enumerate(shapes)
    }


def _left_padded(shapes: Shapes) -> "dict[str, torch.Tensor]":
    """Return a first call: texts of unequal length and nothing before."""
    import torch

    columns = SOURCE + 1
    mask = torch.ones((BATCH, columns), dtype=torch.int64)
    mask[0, :2] = 0
    return {
        "input_ids": _ids(BATCH, columns),
        "attention_mask": mask,
        **_states("past", shapes, 0),
    }
