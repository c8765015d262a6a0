import numpy as np
import pytest

from ivme.ensemble.rows import FeatureRows, rows_from_dense
from ivme.ensemble.trees import LEAF, Forest, Tree, build_forest
from ivme.errors import UsageError

FEATURES = 6


def random_tree(draw: np.random.RandomState, depth: int, output: int, width: int) -> Tree:
    """A tree of full depth, children after parents, with some thresholds of NaN."""
    count = 2 ** (depth + 1) - 1
    inner = np.arange(count) < 2**depth - 1
    threshold = draw.randint(0, 8, count) / 8.0
    threshold[draw.rand(count) < 0.1] = np.nan
    return Tree(
        feature=np.where(inner, draw.randint(0, FEATURES, count), LEAF).astype(np.int32),
        threshold=threshold,
        left=np.where(inner, 2 * np.arange(count) + 1, 0).astype(np.int32),
        right=np.where(inner, 2 * np.arange(count) + 2, 0).astype(np.int32),
        missing_left=draw.rand(count) < 0.5,
        value=draw.rand(count, width),
        output=output,
    )


def random_rows(draw: np.random.RandomState, count: int) -> FeatureRows:
    """Rows whose values often are thresholds, some missing, many zero."""
    dense = draw.randint(0, 9, (count, FEATURES)) / 8.0
    dense[draw.rand(count, FEATURES) < 0.2] = np.nan
    return rows_from_dense(np.where(draw.rand(count, FEATURES) < 0.3, 0.0, dense))


@pytest.mark.parametrize(("outputs", "width"), [(1, 1), (3, 1), (1, 3)])
@pytest.mark.parametrize("has_float_inputs", [False, True])
def test_the_kernel_does_what_the_reference_does(outputs, width, has_float_inputs):
    draw = np.random.RandomState(outputs + 10 * width)
    trees = [random_tree(draw, 1 + n % 5, n % outputs, width) for n in range(19)]
    forest = build_forest(
        trees,
        feature_count=FEATURES,
        score_width=outputs * width,
        has_float_inputs=has_float_inputs,
    )
    rows = random_rows(draw, 400)
    assert np.array_equal(forest.scores(rows), forest.reference_scores(rows))
    assert np.array_equal(forest.scores(rows, threads=2), forest.scores(rows))


def stump(threshold: float, missing_left: bool = True) -> Tree:
    return Tree(
        feature=np.array([0, LEAF, LEAF], np.int32),
        threshold=np.array([threshold, 0, 0]),
        left=np.array([1, 0, 0], np.int32),
        right=np.array([2, 0, 0], np.int32),
        missing_left=np.array([missing_left, False, False]),
        value=np.array([[0.0], [10.0], [20.0]]),
    )


def score_one(tree: Tree, value: float, *, has_float_inputs: bool = False) -> float:
    forest = build_forest([tree], feature_count=1, score_width=1, has_float_inputs=has_float_inputs)
    return float(forest.scores(rows_from_dense([[value]]))[0, 0])


def test_a_value_at_the_threshold_goes_right():
    assert score_one(stump(0.5), np.nextafter(0.5, 0)) == 10.0
    assert score_one(stump(0.5), 0.5) == 20.0


def test_a_missing_value_goes_where_the_node_says():
    assert score_one(stump(0.5, missing_left=True), np.nan) == 10.0
    assert score_one(stump(0.5, missing_left=False), np.nan) == 20.0


def test_a_threshold_of_nan_parts_missing_values_from_all_others():
    for value in (0.0, 1e300, -1e300):
        assert score_one(stump(np.nan, missing_left=False), value) == 10.0
    assert score_one(stump(np.nan, missing_left=False), np.nan) == 20.0


def test_float_inputs_are_rounded_before_they_are_compared():
    below = np.nextafter(0.5, 0)
    assert score_one(stump(0.5), below) == 10.0
    assert score_one(stump(0.5), below, has_float_inputs=True) == 20.0


def test_a_tree_of_one_leaf_gives_its_value():
    leaf = Tree(
        feature=np.array([LEAF], np.int32),
        threshold=np.zeros(1),
        left=np.zeros(1, np.int32),
        right=np.zeros(1, np.int32),
        missing_left=np.zeros(1, bool),
        value=np.array([[7.0]]),
    )
    assert score_one(leaf, 1.0) == 7.0


def test_no_rows_give_no_scores():
    forest = build_forest([stump(0.5)], feature_count=1, score_width=1)
    assert forest.scores(rows_from_dense(np.empty((0, 1)))).shape == (0, 1)


@pytest.mark.parametrize(
    "change",
    [{"left": 0}, {"left": 3}, {"left": -1}, {"right": 0}, {"right": 99}, {"feature": 1}],
    ids=str,
)
def test_nodes_that_point_out_of_the_forest_or_back_are_refused(change):
    sound = build_forest([stump(0.5)], feature_count=1, score_width=1)
    nodes = sound.nodes.copy()
    for name, value in change.items():
        nodes[name][0] = value
    forest = Forest(
        nodes=nodes,
        roots=sound.roots,
        outputs=sound.outputs,
        leaf_values=sound.leaf_values,
        feature_count=1,
        score_width=1,
        has_float_inputs=False,
    )
    with pytest.raises(UsageError, match="node 0 points outside of the forest"):
        forest.check()


def test_rows_of_other_features_never_reach_the_kernel():
    forest = build_forest([stump(0.5)], feature_count=1, score_width=1)
    with pytest.raises(ValueError, match="5 is none of the 1 features"):
        forest.scores(rows_from_dense([[0, 0, 0, 0, 0, 1.0]]))
