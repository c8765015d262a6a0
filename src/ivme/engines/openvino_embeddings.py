"""Rows of embeddings that stay in int8 in memory, and become numbers when they are looked up.

NNCF writes an embedding as int8 rows, converts and scales all of them, and looks some up; the
compiler does the first two beforehand, once, and holds four bytes a number: 248 MB for BERT-base
and RoBERTa-base together. Looking up first gives the same numbers.
"""

from typing import Any

SCALING = ("Convert", "Multiply", "Subtract")


def look_up_before_scaling(network: Any) -> int:
    """Change the network so that it scales looked-up rows alone; return the lookups changed."""
    changed = 0
    for node in network.get_ordered_ops():
        if node.get_type_name() != "Gather" or not _is_of_rows(node):
            continue
        steps, rows = _steps(node)
        if steps and rows is not None:
            node.output(0).replace(_looked_up(node, steps, rows))
            changed += 1
    network.validate_nodes_and_infer_types()
    return changed


def _is_of_rows(node: Any) -> bool:
    axis = node.input_value(2).get_node()
    return axis.get_type_name() == "Constant" and int(axis.get_data().reshape(-1)[0]) == 0


def _steps(node: Any) -> tuple[list[Any], Any]:
    """Return the scaling between the int8 rows and the lookup, last first, and the rows."""
    steps, before = [], node.input_value(0).get_node()
    while before.get_type_name() in SCALING:
        steps.append(before)
        before = before.input_value(0).get_node()
    is_int8 = before.get_element_type().get_type_name() in ("i8", "u8")
    is_rows = before.get_type_name() == "Constant" and is_int8
    return steps, before if is_rows and len(before.get_output_shape(0)) == 2 else None


def _looked_up(node: Any, steps: list[Any], rows: Any) -> Any:
    from openvino import opset13 as operations

    def look_up(table: Any) -> Any:
        return operations.gather(table, node.input_value(1), node.input_value(2)).output(0)

    found = look_up(rows.output(0))
    for step in reversed(steps):
        kind = step.get_type_name()
        if kind == "Convert":
            found = operations.convert(found, step.get_output_element_type(0).get_type_name())
        else:
            other = step.input_value(1)
            if len(other.get_shape()) == 2 and other.get_shape()[0] > 1:  # a number for each row
                other = look_up(other)
            apply = operations.multiply if kind == "Multiply" else operations.subtract
            found = apply(found, other)
        found = found.output(0)
    return found
