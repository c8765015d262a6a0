"""A compiled forest: decision trees of any trainer as flat arrays, scored by the native kernel.

One rule decides everywhere: a value goes right where value >= threshold, a missing one (NaN) goes
where the node says. Trainers that compare otherwise are brought into this form exactly when they
are compiled. Knows no trainer, no probabilities and no files.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.rows import FeatureRows
from ivme.errors import UsageError

# The layout of TreeNode in csrc/ensemble/tree_ensemble.h.
NODE = np.dtype(
    [
        ("threshold", np.float64),
        ("feature", np.int32),
        ("left", np.int32),
        ("right", np.int32),
        ("missing_left", np.int32),
    ]
)
LEAF = -1
ROWS_PER_TASK = 64  # fewer take less time than handing them to another thread


@dataclass(frozen=True, kw_only=True, eq=False)
class Tree:
    """One tree as its trainer has it, node 0 the root, children after their parents.

    feature: int32 [nodes], LEAF for leaves; threshold: float64 [nodes]; left, right: int32
    [nodes]; missing_left: bool [nodes]; value: float64 [nodes, width], read at leaves alone.
    output: the first column of the scores that the leaves add to.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]
    output: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Forest:
    """Trees in flat arrays. `nodes` [nodes] is of dtype NODE; a leaf keeps its number in `left`.

    roots, outputs: int32 [trees]; leaf_values: float64 [leaves, width]. score_width: columns of the
    scores. has_float_inputs: values are rounded to fp32 first, as scikit-learn does.
    """

    nodes: NDArray[Any]
    roots: NDArray[np.int32]
    outputs: NDArray[np.int32]
    leaf_values: NDArray[np.float64]
    feature_count: int
    score_width: int
    has_float_inputs: bool

    def scores(self, rows: FeatureRows, threads: int = 1) -> NDArray[np.float64]:
        """Return the sum of the leaves that each row reaches, [rows, score_width]."""
        scores = np.zeros((len(rows), self.score_width))
        if threads == 1 or len(rows) <= ROWS_PER_TASK:
            self._native.add_scores(rows.starts, rows.indices, rows.values, scores)
            return scores
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda first: self._score_part(rows, first, scores), _tasks(rows)))
        return scores

    def reading(self, columns: NDArray[np.int32], feature_count: int) -> "Forest":
        """Return the forest for rows of `feature_count` features; it reads those in `columns`."""
        nodes = self.nodes.copy()
        is_leaf = nodes["feature"] == LEAF
        nodes["feature"] = np.where(is_leaf, LEAF, columns[np.where(is_leaf, 0, nodes["feature"])])
        return replace(self, nodes=_read_only(nodes), feature_count=feature_count)

    def _score_part(self, rows: FeatureRows, first: int, scores: NDArray[np.float64]) -> None:
        end = min(first + ROWS_PER_TASK, len(rows))
        part = rows.part(first, end)
        self._native.add_scores(part.starts, part.indices, part.values, scores[first:end])

    def reference_scores(self, rows: FeatureRows) -> NDArray[np.float64]:
        """Return what `scores` returns, by NumPy: slow, for tests to hold the kernel to."""
        dense = rows.to_dense()
        if self.has_float_inputs:
            dense = dense.astype(np.float32).astype(np.float64)
        scores = np.zeros((len(rows), self.score_width))
        for root, output in zip(self.roots, self.outputs, strict=True):
            leaves = self._leaves_below(int(root), dense)
            scores[:, output : output + self.leaf_values.shape[1]] += self.leaf_values[leaves]
        return scores

    def _leaves_below(self, root: int, dense: NDArray[np.float64]) -> NDArray[np.int32]:
        at = np.full(len(dense), root)
        while (self.nodes["feature"][at] != LEAF).any():
            node = self.nodes[at]
            value = dense[np.arange(len(dense)), np.maximum(node["feature"], 0)]
            is_missing = np.isnan(value)
            goes_right = np.where(is_missing, node["missing_left"] == 0, value >= node["threshold"])
            below = np.where(goes_right, node["right"], node["left"])
            at = np.where(node["feature"] == LEAF, at, below)
        return self.nodes["left"][at]

    @cached_property
    def _native(self) -> Any:
        from ivme.ensemble import _kernels

        return _kernels.Forest(
            self.nodes.view(np.uint8).reshape(-1, NODE.itemsize),
            self.roots,
            self.outputs,
            self.leaf_values,
            self.feature_count,
            self.has_float_inputs,
        )

    def check(self) -> None:
        """Raise UsageError unless every node, root and leaf points inside of the forest."""
        if self.outputs.size and self.outputs.max() + self.leaf_values.shape[1] > self.score_width:
            raise UsageError("a tree adds to scores that the forest does not have")
        if not np.isfinite(self.leaf_values).all():
            raise UsageError("a leaf with a value that is not finite")
        try:
            _ = self._native
        except (ValueError, TypeError) as error:
            raise UsageError(str(error)) from error


def build_forest(
    trees: Sequence[Tree], *, feature_count: int, score_width: int, has_float_inputs: bool = False
) -> Forest:
    """Return the trees as one checked forest.

    Raises:
        UsageError: a tree with a node that is its own ancestor, or points to nothing.
    """
    nodes, leaf_values = [], []
    first_node = first_leaf = 0
    for tree in trees:
        packed = _pack(tree, first_node, first_leaf)
        nodes.append(packed)
        leaf_values.append(tree.value[tree.feature == LEAF])
        first_node += len(packed)
        first_leaf += len(leaf_values[-1])
    sizes = np.array([len(part) for part in nodes], np.int64)
    forest = Forest(
        nodes=_read_only(np.concatenate(nodes)),
        roots=_read_only((np.cumsum(sizes) - sizes).astype(np.int32)),
        outputs=_read_only(np.array([tree.output for tree in trees], np.int32)),
        leaf_values=_read_only(np.ascontiguousarray(np.concatenate(leaf_values), np.float64)),
        feature_count=feature_count,
        score_width=score_width,
        has_float_inputs=has_float_inputs,
    )
    forest.check()
    return forest


def _pack(tree: Tree, first_node: int, first_leaf: int) -> NDArray[Any]:
    is_leaf = tree.feature == LEAF
    packed = np.zeros(len(tree.feature), NODE)
    packed["threshold"] = np.where(is_leaf, 0.0, tree.threshold)
    packed["feature"] = tree.feature
    leaf_numbers = first_leaf + np.cumsum(is_leaf) - 1
    packed["left"] = np.where(is_leaf, leaf_numbers, tree.left + first_node)
    packed["right"] = np.where(is_leaf, 0, tree.right + first_node)
    packed["missing_left"] = np.where(is_leaf, 0, tree.missing_left)
    return packed


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False  # it was checked once; nothing may change it after
    return array


def _tasks(rows: FeatureRows) -> range:
    return range(0, len(rows), ROWS_PER_TASK)
