"""What is read from one position of each text alone is computed for that position alone.

A classifier reads its first token, a masked model its mask. Between there and the last attention
every position was computed, and all but one thrown away: five sixths of a layer, and the head of a
masked model. Keys and values are those of all positions as before, so the answers stay the same.
"""

from collections.abc import Callable
from math import prod
from typing import Any

Axes = dict[int, int]  # inputs of which one position is enough, and the axis of the positions
Pick = Callable[[Any, int], Any]  # an output and an axis of positions -> the same at one position

POSITIONS = 1  # their axis in [B, T, D]
ELEMENTWISE = ("Add", "Divide", "Multiply", "Power", "Subtract")
PRODUCTS = ("MatMul", "ScaledDotProductAttention")
UNARY = ("Convert", "Erf", "Gelu", "Relu", "Sigmoid", "Swish", "Tanh")


def compute_picked_positions_alone(network: Any) -> tuple[str, ...]:
    """Change the network so that it computes picked positions alone; return what it then does.

    These are the names of the products and attentions that run for one position of each text.
    """
    nodes = network.get_ordered_ops()
    alone = [name for node in nodes for name in _compute_alone(nodes, node)]
    network.validate_nodes_and_infer_types()
    return tuple(alone)


def _compute_alone(nodes: list[Any], reader: Any) -> list[str]:
    """Narrow what leads to a node that reads one position; return the products among it."""
    pick = _pick_of(reader)
    if pick is None:
        return []
    narrowed = _narrowed(nodes, reader)
    if len(narrowed) == 1:
        return []
    picked: dict[tuple[str, int, int], Any] = {}
    for node, axes in narrowed.values():
        for at, axis in axes.items():
            source = node.input_value(at)
            name = source.get_node().get_name()
            if name not in narrowed:
                key = (name, source.get_index(), axis)
                picked[key] = picked.get(key) or pick(source, axis)
                node.input(at).replace_source_output(picked[key])
    _read_what_is_left(reader)
    products = [node for node, _ in narrowed.values() if node.get_type_name() in PRODUCTS]
    return [node.get_friendly_name() for node in products]


def _pick_of(node: Any) -> Pick | None:
    """Return how the node picks a position of each row of [B, T, D], or None if it does not."""
    from openvino import opset13 as operations

    kind = node.get_type_name()
    if kind not in ("Gather", "GatherElements"):
        return None
    sizes = _sizes(node.input_value(0))
    if len(sizes) != 3:
        return None
    if sizes[POSITIONS] == 1:  # nothing to save; and there the CPU plugin gives all rows the first
        return None
    index = node.input_value(1)
    if kind == "Gather" and _constant(node.input_value(2)) == [POSITIONS]:
        position = _constant(index)
        if position is not None and len(position) == 1:
            return lambda source, axis: operations.gather(source, position, axis).output(0)
    if kind == "GatherElements" and node.get_attributes()["axis"] == POSITIONS:
        positions = _positions(index)
        if positions is not None:
            return lambda source, axis: operations.gather(source, positions, axis, 1).output(0)
    return None


def _positions(index: Any) -> Any:
    """Return [B, 1], one position a row, if the index [B, 1, D] repeats it D times, else None."""
    from openvino import opset13 as operations

    node = index.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Broadcast" or _sizes(index)[1] != 1:
        return None
    once = node.input_value(0)
    return operations.squeeze(once, [2]) if _sizes(once)[1:] == [1, 1] else None


def _read_what_is_left(reader: Any) -> None:
    """Let the node read the one position that is left."""
    import numpy as np
    from openvino import opset13 as operations

    if reader.get_type_name() == "GatherElements":
        reader.output(0).replace(reader.input_value(0))
    else:
        first = operations.constant(np.zeros_like(reader.input_value(1).get_node().get_data()))
        reader.input(1).replace_source_output(first.output(0))


def _narrowed(nodes: list[Any], reader: Any) -> dict[str, tuple[Any, Axes]]:
    """Return by name the nodes that are only needed at the reader's position, and itself."""
    found = {reader.get_name(): (reader, {0: POSITIONS})}
    for node in reversed(nodes):
        axis = _axis_read(node, found)
        axes = None if axis is None else _input_axes(node, axis)
        if axes:
            found[node.get_name()] = (node, axes)
    return found


def _axis_read(node: Any, narrowed: dict[str, tuple[Any, Axes]]) -> int | None:
    """Return the axis on which all that read the node need one position, or None."""
    if node.get_output_size() != 1:
        return None
    axes = set()
    for port in node.output(0).get_target_inputs():
        _, needed = narrowed.get(port.get_node().get_name(), (None, {}))
        axes.add(needed.get(port.get_index()))
    return axes.pop() if len(axes) == 1 else None


def _input_axes(node: Any, axis: int) -> Axes | None:
    """Return which inputs one position on an axis of the output needs at one position too.

    None for operations that mix positions, or that are not known not to.
    """
    kind, rank = node.get_type_name(), len(_sizes(node.output(0)))
    if kind in UNARY:
        return {0: axis}
    if kind in ELEMENTWISE:
        return _broadcast_axes(node, range(2), axis)
    if kind in ("MVN", "Softmax"):
        return None if axis in _reduced_axes(node, rank) else {0: axis}
    if kind == "MatMul":
        is_row = axis == rank - 2 and not node.get_attributes()["transpose_a"]
        return {0: axis} if is_row and len(_sizes(node.input_value(0))) == rank else None
    if kind == "Transpose":
        order = _constant(node.input_value(1))
        return None if order is None else {0: order[axis]}
    if kind == "Reshape":
        return {0: axis} if _keeps_axis(node, axis) else None
    if kind == "ScaledDotProductAttention":
        return _attention_axes(node, axis)
    return None


def _broadcast_axes(node: Any, inputs: range, axis: int) -> Axes | None:
    """Return the inputs that have the axis; None if one has it elsewhere or for all rows alike."""
    rank, axes = len(_sizes(node.output(0))), {}
    for at in inputs:
        sizes = _sizes(node.input_value(at))
        own = axis - (rank - len(sizes))
        if own < 0 or sizes[own] == 1:
            continue
        if own != axis or sizes[0] == 1:
            return None
        axes[at] = axis
    return axes


def _reduced_axes(node: Any, rank: int) -> list[int]:
    if node.get_type_name() == "Softmax":
        reduced: list[int] | None = [node.get_attributes()["axis"]]
    else:
        reduced = _constant(node.input_value(1))
    return list(range(rank)) if reduced is None else [axis % rank for axis in reduced]


def _attention_axes(node: Any, axis: int) -> Axes | None:
    """Return the query's and the mask's axis: a position asks all keys on its own."""
    if axis != 2 or node.get_attributes()["causal"]:
        return None
    mask = _broadcast_axes(node, range(3, min(4, node.get_input_size())), axis)
    return None if mask is None else {0: axis, **mask}


def _keeps_axis(node: Any, axis: int) -> bool:
    """Return whether a reshape leaves the axis where it is, whatever its size, and those before."""
    before, after = _sizes(node.input_value(0)), _sizes(node.output(0))
    pattern = _constant(node.input_value(1))
    if pattern is None or pattern[axis] not in (0, -1) or before[: axis + 1] != after[: axis + 1]:
        return False
    inner, outer = before[axis + 1 :], after[axis + 1 :]
    return -1 not in inner + outer and prod(inner) == prod(outer)


def _sizes(port: Any) -> list[int]:
    """Return the port's sizes, -1 where they are open; none if not even their number is known."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return []
    return [size.get_length() if size.is_static else -1 for size in shape]


def _constant(port: Any) -> list[int] | None:
    """Return the whole numbers of a constant, or None if the port is none."""
    node = port.get_node()
    if node.get_type_name() != "Constant":
        return None
    return [int(number) for number in node.get_data().reshape(-1)]
