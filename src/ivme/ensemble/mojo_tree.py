"""One tree of a MOJO: bytes to arrays.

A node is its kind (1 byte), column (2), direction of missing values (1), threshold (fp32), size of
its left branch (1 to 4 bytes, fewer bits of the kind say how many), left branch, right branch. A
branch that is a leaf is an fp32 alone, and the kind of the node above says so. Little-endian.
"""

import struct
from dataclasses import dataclass, field

import numpy as np

from ivme.ensemble.trees import LEAF, Tree
from ivme.errors import UsageError

_LEAF_COLUMN = 0xFFFF
_MISSING_ALONE = 1  # missing values right, all others left
_MISSING_LEFT = (2, 4)
_LEFT_IS_LEAF = 48
_CATEGORY_BITS = 12


@dataclass
class _Nodes:
    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    missing_left: list[bool] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    children: list[list[int]] = field(default_factory=list)

    def add(self, feature: int, threshold: float, missing_left: bool, value: float) -> int:
        self.feature.append(feature)
        self.threshold.append(threshold)
        self.missing_left.append(missing_left)
        self.value.append(value)
        self.children.append([0, 0])
        return len(self.feature) - 1


def read_tree(content: bytes, output: int) -> Tree:
    """Return the tree in the bytes of a MOJO's tree file.

    Raises:
        UsageError: bytes that are no tree, or a split by categories.
    """
    try:
        nodes = _read_nodes(content)
    except struct.error as error:
        raise UsageError("a tree ends in the middle of a node") from error
    children = np.array(nodes.children, np.int32)
    return Tree(
        feature=np.array(nodes.feature, np.int32),
        threshold=np.array(nodes.threshold, np.float64),
        left=np.ascontiguousarray(children[:, 0]),
        right=np.ascontiguousarray(children[:, 1]),
        missing_left=np.array(nodes.missing_left, bool),
        value=np.array(nodes.value, np.float64)[:, np.newaxis],
        output=output,
    )


def _read_nodes(content: bytes) -> _Nodes:
    nodes = _Nodes()
    # Branches to read: where they are, whether a leaf, whose child, and which of the two.
    waiting = [(0, False, -1, 0)]
    while waiting:
        at, is_leaf, parent, side = waiting.pop()
        if len(nodes.feature) > len(content):
            raise UsageError("a tree has branches that overlap")
        if is_leaf:
            number = nodes.add(LEAF, 0.0, False, _float(content, at))
        else:
            number = _read_node(content, at, nodes, waiting)
        if parent >= 0:
            nodes.children[parent][side] = number
    return nodes


def _read_node(
    content: bytes, at: int, nodes: _Nodes, waiting: list[tuple[int, bool, int, int]]
) -> int:
    kind, column = struct.unpack_from("<BH", content, at)
    if column == _LEAF_COLUMN:
        return nodes.add(LEAF, 0.0, False, _float(content, at + 3))
    if kind & _CATEGORY_BITS:
        raise UsageError("a tree splits by categories; train it on numbers only")
    (missing,) = struct.unpack_from("<B", content, at + 3)
    at += 4
    threshold = float("nan")  # every value that is there is below it
    if missing != _MISSING_ALONE:
        threshold, at = _float(content, at), at + 4
    number = nodes.add(column, threshold, missing in _MISSING_LEFT, 0.0)
    left_kind, right_is_leaf = kind & 51, bool((kind & 0xC0) >> 2 & 16)
    if left_kind == _LEFT_IS_LEAF:
        left, right = at, at + 4
    elif left_kind <= 3:
        width = left_kind + 1
        left = at + width
        right = left + int.from_bytes(content[at:left], "little")
    else:
        raise UsageError(f"a tree has a node of the unknown kind {kind}")
    waiting.append((right, right_is_leaf, number, 1))
    waiting.append((left, left_kind == _LEFT_IS_LEAF, number, 0))
    return number


def _float(content: bytes, at: int) -> float:
    return struct.unpack_from("<f", content, at)[0]
