"""A network's weights in the layout that csrc/encoder reads: three arrays and a description."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ivme.engines.fused_networks import Family, family_of, inner_width, part
from ivme.hardware.products.panels import in_panels
from ivme.models.pooling import Pooling
from ivme.whole_file import write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from ivme.models.loading import LoadedModel

ARRAYS_FILE = "encoder.safetensors"
ARRAYS = {  # in the file: name -> type there, and in NumPy
    "weights": ("I8", np.int8),  # of products, in panels
    "words": ("U16", np.uint16),  # [vocabulary, D]: the upper halves of floats, which is bfloat16
    "floats": ("F32", np.float32),  # all the rest
}
SHAPE_FILE = "encoder.json"
LARGEST = 127  # of a quantized weight


def write_weights(model: "LoadedModel", folder: Path) -> None:
    """Write the arrays and encoder.json of a model that fused_networks knows."""
    from safetensors.numpy import save_file

    family = family_of(model)
    assert family is not None, "refused before"
    writer = _Writer()
    network = model.model
    base = network.base_model
    positions = _write_embeddings(writer, base, family)
    layers = part(base, family.layers)
    for layer in layers:
        _write_layer(writer, layer, family)
    head = []
    if model.kind == "classifier":
        for name, activation in family.head:
            linear = part(network, name)
            writer.floats(linear.weight, linear.bias)
            head.append([linear.out_features, activation])
    config = network.config
    eps = family.eps if isinstance(family.eps, float) else getattr(config, family.eps)
    pooling = (model.pooling or Pooling()) if model.kind == "embedding" else Pooling(mode="first")
    shape = {
        "width": config.hidden_size,
        "heads": config.num_attention_heads,
        "inner": inner_width(config),
        "layers": len(layers),
        "positions": positions,
        "types": base.embeddings.token_type_embeddings.num_embeddings if family.has_types else 0,
        "norm_eps": eps,
        "pooling": pooling.mode,
        "is_normalized": pooling.is_normalized,
        "head": head,
    }
    arrays: dict[str, NDArray[Any]] = {
        "weights": np.concatenate(writer.quantized),
        "words": as_bfloat16(_array(base.embeddings.word_embeddings.weight)),
        "floats": np.concatenate(writer.exact),
    }
    save_file(arrays, folder / ARRAYS_FILE)
    write_json(folder / SHAPE_FILE, shape)


def map_arrays(folder: Path) -> dict[str, Any]:
    """Return the arrays by name without reading them: pages come as they are touched.

    Raises:
        OSError, ValueError, KeyError or TypeError: the file is not as it was written.
    """
    path = folder / ARRAYS_FILE
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError(f"{path.name} is cut off or no safetensors file")
        header = json.loads(file.read(length))
    arrays = {}
    for name, (kind, dtype) in ARRAYS.items():
        shape, (start, end) = tuple(header[name]["shape"]), header[name]["data_offsets"]
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if header[name]["dtype"] != kind or end - start != size:
            raise ValueError(f"{name} in {path.name} is not of type {kind}")
        arrays[name] = np.memmap(path, dtype, "r", offset=8 + length + start, shape=shape)
    return arrays


def as_bfloat16(array: "NDArray[np.float32]") -> "NDArray[np.uint16]":
    """Return the upper halves of floats, rounded to the nearest, ties to even."""
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def quantize(weight: "NDArray[np.float32]") -> "tuple[NDArray[np.int8], NDArray[np.float32]]":
    """Return int8 weights [N, K], symmetric around 0, and the scale [N] of each row."""
    scales = np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny) / LARGEST
    return np.rint(weight / scales[:, None]).astype(np.int8), scales.astype(np.float32)


class _Writer:
    """Collects quantized and exact numbers, in the order in which the kernels take it."""

    def __init__(self) -> None:
        self.quantized: list[NDArray[np.int8]] = []
        self.exact: list[NDArray[np.float32]] = []

    def floats(self, *tensors: Any) -> None:
        self.exact += [_array(tensor).reshape(-1) for tensor in tensors]

    def norm(self, norm: Any) -> None:
        self.floats(norm.weight, norm.bias)

    def linear(self, *layers: Any) -> None:
        """Add layers that read the same, side by side."""
        weight = np.concatenate([_array(layer.weight) for layer in layers])
        quantized, scales = quantize(weight)
        self.quantized.append(in_panels(quantized))
        sums = quantized.sum(axis=1, dtype=np.int32).astype(np.float32)
        self.exact += [scales, sums, np.concatenate([_array(layer.bias) for layer in layers])]


def _write_embeddings(writer: _Writer, base: "nn.Module", family: Family) -> int:
    """Add the tables but for that of words, and their norm; return how many positions there are."""
    embeddings: Any = base.embeddings
    places = embeddings.position_embeddings.weight
    if family.skips_positions:
        places = places[embeddings.padding_idx + 1 :]
    writer.floats(places)
    if family.has_types:
        writer.floats(embeddings.token_type_embeddings.weight)
    writer.norm(embeddings.LayerNorm)
    return len(places)


def _write_layer(writer: _Writer, layer: "nn.Module", family: Family) -> None:
    query, key, value, output, output_norm, up, down, down_norm = (
        part(layer, name) for name in family.layer
    )
    writer.linear(query, key, value)
    writer.linear(output)
    writer.norm(output_norm)
    writer.linear(up)
    writer.linear(down)
    writer.norm(down_norm)


def _array(tensor: Any) -> "NDArray[np.float32]":
    array: NDArray[np.float32] = tensor.detach().numpy().astype(np.float32, copy=False)
    return array
