"""Weights of an ONNX file in int8, one scale a column; activations follow at run time.

The quantizer of ONNX Runtime does the same in Python, column by column: with the 50,257 columns of
a vocabulary that is minutes where this is seconds.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

CONTRIB = "com.microsoft"
LARGEST = 127  # symmetric: -128 is left out


def quantize_weights(model: "ModelProto") -> int:
    """Change every product with a constant matrix to int8, in place; return how many there were.

    Activations are unsigned and weights signed (U8S8): products of two signed or two unsigned
    operands have no fast instruction on x86. A bias that is added to a product joins it.
    """
    from onnx import helper

    graph = model.graph
    weights = _Weights.of(graph)
    products = [product for node in graph.node if (product := weights.product(node))]
    replaced = {id(product.node): product for product in products}
    absorbed = {id(product.bias_node) for product in products if product.bias_node is not None}
    quantized: dict[str, tuple[str, str, str]] = {}  # activation -> its int8, scale, zero point
    nodes: list[NodeProto] = []
    for node in graph.node:
        if id(node) in absorbed:
            continue
        product = replaced.get(id(node))
        if product is None:
            nodes.append(node)
            continue
        if product.activation not in quantized:
            of = product.activation
            names = (f"{of}_int8", f"{of}_scale", f"{of}_zero")
            nodes.append(helper.make_node("DynamicQuantizeLinear", [product.activation], names))
            quantized[product.activation] = names
        nodes.append(weights.int8_node(product, *quantized[product.activation]))
    del graph.node[:]
    graph.node.extend(nodes)
    weights.store()
    if CONTRIB not in {opset.domain for opset in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return len(products)


@dataclass(kw_only=True)
class _Product:
    """One product with a constant matrix, and the bias that it may be joined with."""

    node: "NodeProto"
    activation: str
    weight: str
    is_transposed: bool
    output: str
    bias: str = ""
    bias_node: "NodeProto | None" = None


@dataclass(kw_only=True)
class _Weights:
    """A graph's constants: what reads them, and their int8 form once made."""

    graph: "GraphProto"
    constants: "dict[str, TensorProto]"
    aliases: dict[str, str]  # outputs of Identity on a constant
    readers: "dict[str, list[NodeProto]]"
    int8: dict[str, tuple[str, str]] = field(default_factory=dict)  # -> names of int8 and scales
    made: "list[TensorProto]" = field(default_factory=list)

    @classmethod
    def of(cls, graph: "GraphProto") -> "_Weights":
        constants = {tensor.name: tensor for tensor in graph.initializer}
        aliases: dict[str, str] = {}
        readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
            if node.op_type == "Identity" and node.input[0] in constants:
                aliases[node.output[0]] = node.input[0]
        return cls(graph=graph, constants=constants, aliases=aliases, readers=readers)

    def product(self, node: "NodeProto") -> _Product | None:
        """Return the node as a product with a constant matrix, None if it is something else."""
        if node.op_type not in ("MatMul", "Gemm"):
            return None
        weight = self._constant(node.input[1], dimensions=2)
        if weight is None or self._constant(node.input[0]) is not None:
            return None
        product = _Product(
            node=node,
            activation=node.input[0],
            weight=weight,
            is_transposed=False,
            output=node.output[0],
        )
        if node.op_type == "MatMul":
            self._join_bias(product)
            return product
        settings = {attribute.name: attribute for attribute in node.attribute}
        if any(settings[name].f != 1 for name in ("alpha", "beta") if name in settings):
            return None
        if "transA" in settings and settings["transA"].i:
            return None
        product.is_transposed = "transB" in settings and bool(settings["transB"].i)
        if len(node.input) > 2:
            bias = self._constant(node.input[2], dimensions=1)
            if bias is None:
                return None
            product.bias = bias
        return product

    def int8_node(self, product: _Product, values: str, scale: str, zero: str) -> "NodeProto":
        """Return the product of int8 values, with float32 output."""
        from onnx import helper

        weight, weight_scale = self._int8(product)
        inputs = [values, weight, scale, weight_scale, zero, "", product.bias]
        name = f"{product.output}_product"
        return helper.make_node(
            "MatMulIntegerToFloat", inputs, [product.output], name=name, domain=CONTRIB
        )

    def store(self) -> None:
        """Put the int8 weights into the graph, and take out those that nothing reads now."""
        read = {name for node in self.graph.node for name in node.input}
        read |= {output.name for output in self.graph.output}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept + self.made)

    def _int8(self, product: _Product) -> tuple[str, str]:
        """Return the names of a weight's int8 form and of its scales, made at first use."""
        from onnx import numpy_helper

        key = f"{product.weight}{'_transposed' if product.is_transposed else ''}"
        if key not in self.int8:
            matrix = numpy_helper.to_array(self.constants[product.weight])
            matrix = np.ascontiguousarray(matrix.T) if product.is_transposed else matrix
            scales = np.abs(matrix).max(axis=0) / LARGEST
            scales[scales == 0] = 1
            values = np.rint(matrix / scales).astype(np.int8)
            names = (f"{key}_int8", f"{key}_scales")
            self.made.append(numpy_helper.from_array(values, names[0]))
            self.made.append(numpy_helper.from_array(scales.astype(np.float32), names[1]))
            self.int8[key] = names
        return self.int8[key]

    def _join_bias(self, product: _Product) -> None:
        """Find the addition of a constant row that alone reads the product."""
        readers = self.readers.get(product.output, [])
        is_result = any(output.name == product.output for output in self.graph.output)
        if len(readers) != 1 or readers[0].op_type != "Add" or is_result:
            return
        other = [name for name in readers[0].input if name != product.output]
        bias = self._constant(other[0], dimensions=1) if other else None
        columns = self.constants[product.weight].dims[1]
        if bias is None or self.constants[bias].dims[0] != columns:
            return
        product.bias, product.bias_node = bias, readers[0]
        product.output = readers[0].output[0]

    def _constant(self, name: str, dimensions: int | None = None) -> str | None:
        """Return the float32 constant behind a name, None if it is none or of other dimensions."""
        from onnx import TensorProto

        name = self.aliases.get(name, name)
        tensor: Any = self.constants.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return None
        return name if dimensions in (None, len(tensor.dims)) else None
