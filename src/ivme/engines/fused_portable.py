"""The fused encoder in NumPy: the same files on a processor that the kernels do not run on.

So that a plan made elsewhere answers everywhere. Weights are those of the kernels, activations stay
in float32. Slow; `ivme tune` finds something better on such a machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ivme.hardware.products.panels import GROUP, PANEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

GELU_END = 4.2  # beyond, the normal distribution's share is taken to be 0 or 1
GELU_POLYNOMIAL = (  # in 2 x^2 / GELU_END^2 - 1, as in csrc/encoder/approximations.h
    -0.00399178436, 0.0112736042, -0.0161285253, 0.0236721576,
    -0.0380536364, 0.0559752774, -0.0815601032, 0.167853668,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Linear:
    weight: "Floats"  # [K, N]
    bias: "Floats"

    def __call__(self, x: "Floats") -> "Floats":
        product: Floats = x @ self.weight + self.bias
        return product


class PortableEncoder:
    """The interface of `_encoder.Encoder`, which says what the arguments are."""

    def __init__(
        self,
        *,
        weights: "NDArray[np.int8]",
        words: "NDArray[np.uint16]",
        floats: "Floats",
        width: int,
        heads: int,
        inner: int,
        layers: int,
        positions: int,
        types: int,
        norm_eps: float,
        pooling: str,
        is_normalized: bool,
        head: Sequence[tuple[int, str]],
    ) -> None:
        self._width, self._heads, self._eps = width, heads, norm_eps
        self._pooling, self._is_normalized = pooling, is_normalized
        quantized, exact = _Pieces(weights, "weights"), _Pieces(floats, "floats")
        self._words = words
        self._positions = exact.take(positions, width)
        self._types = exact.take(types, width)
        self._norm = self._take_norm(exact)
        self._layers = []
        for _ in range(layers):
            qkv = _take_linear(quantized, exact, width, 3 * width)
            output = _take_linear(quantized, exact, width, width)
            output_norm = self._take_norm(exact)
            up = _take_linear(quantized, exact, width, inner)
            down = _take_linear(quantized, exact, inner, width)
            self._layers.append((qkv, output, output_norm, up, down, self._take_norm(exact)))
        self._head = []
        self.columns = width
        for columns, activation in head:
            weight = exact.take(columns, self.columns).T
            self._head.append((_Linear(weight=weight, bias=exact.take(columns)), activation))
            self.columns = columns
        quantized.end()
        exact.end()

    def encode(
        self,
        starts: "NDArray[np.int64]",
        ids: "NDArray[np.int64]",
        types: "NDArray[np.int64] | None",
        answers: "Floats",
        threads: int,
    ) -> None:
        """Fill the answers of texts that lie one after the other; threads: as NumPy's library."""
        for number, (start, end) in enumerate(pairwise(starts)):
            kinds = None if types is None else types[start:end]
            x = self._embed(ids[start:end], kinds)
            for layer in self._layers:
                x = self._run_layer(layer, x)
            answers[number] = self._answer(x)

    def _embed(self, ids: "NDArray[np.int64]", types: "NDArray[np.int64] | None") -> "Floats":
        words = (self._words[ids].astype(np.uint32) << 16).view(np.float32)
        x = words + self._positions[: len(ids)]
        if len(self._types):
            x = x + self._types[0 if types is None else types]
        return self._normalize(x, self._norm)

    def _run_layer(self, layer: tuple[Any, ...], x: "Floats") -> "Floats":
        qkv, output, output_norm, up, down, down_norm = layer
        size = self._width // self._heads
        query, key, value = qkv(x).reshape(len(x), 3, self._heads, size).transpose(1, 2, 0, 3)
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(size))
        powers = np.exp(scores - scores.max(axis=2, keepdims=True))
        mixed = powers / powers.sum(axis=2, keepdims=True) @ value
        context = mixed.transpose(1, 0, 2).reshape(len(x), self._width)
        x = self._normalize(x + output(context), output_norm)
        return self._normalize(x + down(_gelu(up(x))), down_norm)

    def _answer(self, x: "Floats") -> "Floats":
        chosen = {"first": x[:1], "last": x[-1:], "mean": x}[self._pooling]
        vector: Floats = chosen.mean(axis=0)
        if self._is_normalized:
            vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
        for linear, activation in self._head:
            vector = linear(vector)
            if activation == "tanh":
                vector = np.tanh(vector)
            elif activation == "relu":
                vector = np.maximum(vector, 0)
        return vector

    def _take_norm(self, exact: "_Pieces") -> tuple["Floats", "Floats"]:
        return exact.take(self._width), exact.take(self._width)

    def _normalize(self, x: "Floats", norm: tuple["Floats", "Floats"]) -> "Floats":
        off = x - x.mean(axis=1, keepdims=True)
        deviation = np.sqrt((off * off).mean(axis=1, keepdims=True) + np.float32(self._eps))
        normal: Floats = off / deviation * norm[0] + norm[1]
        return normal


def _take_linear(quantized: "_Pieces", exact: "_Pieces", depth: int, columns: int) -> _Linear:
    scales, _, bias = exact.take(columns), exact.take(columns), exact.take(columns)
    panels = quantized.take(columns // PANEL, depth // GROUP, PANEL, GROUP)
    weight = panels.transpose(1, 3, 0, 2).reshape(depth, columns)
    return _Linear(weight=weight.astype(np.float32) * scales, bias=bias)


def _gelu(x: "Floats") -> "Floats":
    near = np.clip(x, -GELU_END, GELU_END)
    share = np.polyval(GELU_POLYNOMIAL, near * near * (2 / GELU_END**2) - 1)
    activated: Floats = (x * (0.5 + near * share)).astype(np.float32)
    return activated


class _Pieces:
    """Hands out an array piece by piece, in the order in which fused_weights wrote it."""

    def __init__(self, array: "NDArray[Any]", name: str) -> None:
        self._array, self._name, self._at = array, name, 0

    def take(self, *shape: int) -> Any:
        end = self._at + int(np.prod(shape))
        if end > len(self._array):
            raise ValueError(f"{self._name} holds too few values.")
        piece = self._array[self._at : end].reshape(shape)
        self._at = end
        return piece

    def end(self) -> None:
        if self._at != len(self._array):
            raise ValueError(f"{self._name} holds too many values.")
