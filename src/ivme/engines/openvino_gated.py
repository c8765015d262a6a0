"""Gated layers, as Llama has them, on one thread.

On processors with AMX, OpenVINO computes act(gate) * up and the product after it by a kernel that
splits its work over pairs of threads: on one thread it divides by none and ends the process
(openvino#28550, in 2026.4 still). A bound that no number reaches, put between the two, keeps the
kernel from being chosen; it costs nothing, as it is computed along with the gate.
"""

from typing import Any

ACTIVATIONS = ("Swish", "Gelu")
BOUND = 3e38  # below the greatest number of float32 and bfloat16


def keep_gated_layers_apart(network: Any) -> int:
    """Change the network so that the kernel for pairs of threads is not chosen; return where."""
    from openvino import opset13 as operations

    changed = 0
    for node in network.get_ordered_ops():
        if node.get_type_name() != "Multiply" or not _is_gated(node):
            continue
        targets = [one for one in node.output(0).get_target_inputs() if _is_product(one)]
        if targets:
            bounded = operations.clamp(node, -BOUND, BOUND).output(0)
            for one in targets:
                one.replace_source_output(bounded)
            changed += 1
    if changed:
        network.validate_nodes_and_infer_types()
    return changed


def _is_gated(node: Any) -> bool:
    return any(one.get_node().get_type_name() in ACTIVATIONS for one in node.input_values())


def _is_product(target: Any) -> bool:
    return bool(target.get_node().get_type_name() == "MatMul")
