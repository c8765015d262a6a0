"""Times DRF, GBM and GLM on one text: compiled, as ONNX graphs, and asked of H2O itself.

Run `python benchmarks/tabular_scoring.py --output tabular_scoring.json`. H2O trains the members on
texts of the built-in corpus against the same texts with their words shuffled; without Java,
scikit-learn trains them and H2O is left out. First the compiled members are held to the
probabilities of H2O, within 1e-6, where it trained them, and ONNX to the compiled forests, within
1e-5, since it compares in fp32; if one fails, nothing is timed. Ways take turns in random order.
Beside the time on the wall there is the processor time of this thread, which other programs disturb
less; H2O spends its own in Java, so it has none here.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ivme.ensemble.features import NgramSettings
from ivme.ensemble.rows import FeatureRows
from ivme.ensemble.tabular import TabularMembers
from ivme.ensemble.trainers.h2o_cluster import LABEL_COLUMN, h2o_cluster, uploaded
from ivme.ensemble.trainers.h2o_description import describe_h2o
from ivme.ensemble.trainers.h2o_export import compile_h2o
from ivme.ensemble.trainers.h2o_trainer import column_means, h2o_estimator
from ivme.ensemble.trainers.settings import MEMBERS, H2OPlace, MemberSettings
from ivme.ensemble.trainers.sklearn_trainer import SklearnTrainer
from ivme.ensemble.trainers.tfidf_fitting import fit_features
from ivme.ensemble.training import train_tabular
from ivme.ensemble.trees import LEAF, Forest
from ivme.models.corpus import corpus_documents

SIZES = MemberSettings(forest_trees=50, forest_depth=20, boosting_trees=50, boosting_depth=5)
WORDS = 350  # of the text that is scored
BATCH = 64
SHIPPED = "as shipped, from text"
TARGET_MEDIAN_S, TARGET_P99_S, TARGET_FRESH_S = 0.3e-3, 1e-3, 1.0
Runs = dict[str, Callable[[], object]]
Samples = dict[str, list[tuple[float, float]]]  # by way: seconds on the wall and of the processor


def main() -> int:
    arguments = _parser().parse_args()
    has_h2o = importlib.util.find_spec("h2o") is not None and shutil.which("java") is not None
    texts, labels = _texts(arguments.texts)
    features = fit_features(texts, [NgramSettings()])
    rows = features.transform_batch(texts)
    with contextlib.ExitStack() as stack:
        trained = _train_h2o(stack, rows, labels, features.names) if has_h2o else {}
        members = {name: member for name, (_, member) in trained.items()} or {
            name: SklearnTrainer(SIZES).train(name, rows, labels) for name in MEMBERS
        }
        bound = {
            name: replace(member, features_hash=features.content_hash)
            for name, member in members.items()
        }
        tabular = TabularMembers(features=features, labels=("0", "1"), members=bound)
        text = " ".join(" ".join(texts).split()[:WORDS])
        print("Training as `ivme ensemble train` does ...", file=sys.stderr)
        shipped = train_tabular(
            texts, labels.tolist(), folder=stack.enter_context(tempfile.TemporaryDirectory())
        )
        runs, slow = _runs(tabular, text, texts), _h2o_runs(trained, tabular, text)
        runs |= _shipped_runs(shipped, texts)
        failures = _failed_gates(tabular, text, trained)
        if failures:
            print(f"Not timed: {', '.join(failures)} differ.", file=sys.stderr)
            return 1
        samples = _interleave(runs, arguments.rounds) | _interleave(slow, arguments.slow_rounds)
    samples["fresh process"] = _fresh_process(tabular, text, 5)
    _print(samples)
    if arguments.output:
        record = {"machine": platform.processor(), "python": platform.python_version()}
        plain = {
            name: [[round(wall, 9), round(cpu, 9)] for wall, cpu in both]
            for name, both in samples.items()
        }
        content = {**record, "wall_and_processor_s": plain}
        arguments.output.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=400, help="texts to train on")
    parser.add_argument("--rounds", type=int, default=2000, help="times that each way runs")
    parser.add_argument("--slow-rounds", type=int, default=5, help="times that H2O is asked")
    parser.add_argument("--output", type=Path, help="file for all raw samples, as JSON")
    return parser


def _texts(count: int) -> tuple[list[str], np.ndarray]:
    draw = random.Random(0)
    kept = [one for one in corpus_documents() if len(one.split()) > 60][: count // 2]
    shuffled = [" ".join(draw.sample(one.split(), len(one.split()))) for one in kept]
    return kept + shuffled, np.repeat([0, 1], [len(kept), len(shuffled)])


def _train_h2o(
    stack: contextlib.ExitStack, rows: FeatureRows, labels: np.ndarray, names: tuple[str, ...]
) -> dict[str, tuple[Any, Any]]:
    h2o = stack.enter_context(h2o_cluster(H2OPlace()))
    frame = stack.enter_context(uploaded(h2o, rows, names, labels))
    trained = {}
    for name in MEMBERS:
        print(f"Training {name} by H2O ...", file=sys.stderr)
        model = h2o_estimator(name, SIZES, 2, len(rows))
        model.train(x=list(names), y=LABEL_COLUMN, training_frame=frame)
        trained[name] = (model, compile_h2o(describe_h2o(model), names, column_means(rows)))
    return trained


def _runs(tabular: TabularMembers, text: str, texts: list[str]) -> Runs:
    row = tabular.features.transform(text)
    batch = tabular.features.transform_batch(texts[:BATCH])
    dense = {1: row.to_dense().astype(np.float32), BATCH: batch.to_dense().astype(np.float32)}
    sessions = [onnx_session(member.model) for member in _forests(tabular)]
    return {
        "features of one text": lambda: tabular.features.transform(text),
        "three members, features given": lambda: tabular.score_features(row),
        "three members, from text": lambda: tabular.score(text),
        "two forests, kernel": lambda: [one.model.scores(row) for one in _forests(tabular)],
        "two forests, ONNX Runtime": lambda: [one.run(None, {"x": dense[1]}) for one in sessions],
        f"two forests, kernel, {BATCH} rows": lambda: [
            one.model.scores(batch) for one in _forests(tabular)
        ],
        f"two forests, ONNX Runtime, {BATCH} rows": lambda: [
            one.run(None, {"x": dense[BATCH]}) for one in sessions
        ],
    }


def _shipped_runs(shipped: TabularMembers, texts: list[str]) -> Runs:
    """Return the ways to score with every kind of feature, another text each time."""
    words = " ".join(texts).split()
    parts = [" ".join(words[at : at + WORDS]) for at in range(0, len(words) - WORDS, WORDS)]
    rows = [shipped.features.transform(part) for part in parts]
    turns = {name: itertools.cycle(what) for name, what in (("text", parts), ("row", rows))}
    turns["scored"] = itertools.cycle(parts)
    return {
        "as shipped, features of one text": lambda: shipped.features.transform(next(turns["text"])),
        "as shipped, features given": lambda: shipped.score_features(next(turns["row"])),
        SHIPPED: lambda: shipped.score(next(turns["scored"])),
    }


def _forests(tabular: TabularMembers) -> list[Any]:
    return [one for one in tabular.members.values() if isinstance(one.model, Forest)]


def onnx_session(forest: Forest) -> Any:
    """Return the forest as one TreeEnsembleRegressor on one thread of ONNX Runtime."""
    import onnxruntime
    from onnx import TensorProto, helper

    nodes, count = forest.nodes, len(forest.nodes)
    tree = np.searchsorted(forest.roots, np.arange(count), side="right") - 1
    is_leaf = nodes["feature"] == LEAF
    leaves = np.flatnonzero(is_leaf)
    values = forest.leaf_values[nodes["left"][leaves]]
    width = values.shape[1]
    number = np.arange(count) - forest.roots[tree]
    first = forest.roots[tree]
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=forest.score_width,
        nodes_treeids=tree.tolist(),
        nodes_nodeids=number.tolist(),
        nodes_featureids=np.maximum(nodes["feature"], 0).tolist(),
        nodes_modes=["LEAF" if one else "BRANCH_LT" for one in is_leaf],
        nodes_values=nodes["threshold"].tolist(),
        nodes_truenodeids=np.where(is_leaf, 0, nodes["left"] - first).tolist(),
        nodes_falsenodeids=np.where(is_leaf, 0, nodes["right"] - first).tolist(),
        nodes_missing_value_tracks_true=nodes["missing_left"].tolist(),
        target_treeids=np.repeat(tree[leaves], width).tolist(),
        target_nodeids=np.repeat(number[leaves], width).tolist(),
        target_ids=(forest.outputs[tree[leaves], np.newaxis] + np.arange(width)).ravel().tolist(),
        target_weights=values.ravel().tolist(),
    )
    graph = helper.make_graph(
        [node],
        "forest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, forest.feature_count])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, forest.score_width])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def _h2o_runs(trained: dict[str, Any], tabular: TabularMembers, text: str) -> Runs:
    if not trained:
        return {}
    import h2o

    names = list(tabular.features.names)
    dense = tabular.features.transform(text).to_dense()[0].tolist()

    def frame(**types: Any) -> Any:
        return h2o.H2OFrame([dense], column_names=names, **types)

    kept = frame()
    predicts: Runs = {
        f"H2O, {name} alone": lambda model=model: _answer(model, kept)
        for name, (model, _) in trained.items()
    }
    return {
        "H2O, frame alone": frame,
        "H2O, frame with column types": lambda: frame(column_types=["numeric"] * len(names)),
        **predicts,
        "H2O, a frame for each": lambda: [_answer(one, frame()) for one, _ in trained.values()],
        "H2O, one frame": lambda: (
            lambda one_frame: [_answer(one, one_frame) for one, _ in trained.values()]
        )(frame()),
    }


def _answer(model: Any, frame: Any) -> float:
    return float(model.predict(frame).as_data_frame(use_pandas=False, header=False)[0][2])


def _failed_gates(tabular: TabularMembers, text: str, trained: dict[str, Any]) -> list[str]:
    row = tabular.features.transform(text)
    failures = [
        f"ONNX forest {number}"
        for number, member in enumerate(_forests(tabular))
        if not np.allclose(
            onnx_session(member.model).run(None, {"x": row.to_dense().astype(np.float32)})[0],
            member.model.scores(row),
            rtol=1e-5,
            atol=1e-5,
        )
    ]
    if not trained:
        return failures
    import h2o

    cells = [row.to_dense()[0].tolist()]
    frame = h2o.H2OFrame(cells, column_names=list(tabular.features.names))
    found = tabular.score(text)
    return failures + [
        f"{name} of H2O"
        for name, (model, _) in trained.items()
        if abs(_answer(model, frame) - found[name][1]) > 1e-6
    ]


def _fresh_process(tabular: TabularMembers, text: str, count: int) -> list[tuple[float, float]]:
    program = (
        "import sys; from ivme.ensemble.tabular import TabularMembers;"
        "print(TabularMembers.load(sys.argv[1]).score(sys.argv[2]))"
    )
    with tempfile.TemporaryDirectory() as folder:
        tabular.save(folder)
        command = [sys.executable, "-c", program, folder, text]
        return [
            _timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
            for _ in range(count)
        ]


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    start, start_cpu = time.perf_counter(), time.thread_time()
    run()
    return time.perf_counter() - start, time.thread_time() - start_cpu


def _interleave(runs: Runs, rounds: int) -> Samples:
    draw = random.Random(0)
    for run in runs.values():
        run()
    samples: Samples = {name: [] for name in runs}
    for _ in range(rounds):
        for name in draw.sample(list(runs), len(runs)):
            samples[name].append(_timed(runs[name]))
    return samples


def _print(samples: Samples) -> None:
    headings = ("median", "p99", "fastest", "cpu median", "cpu p99")
    print(f"{'ms':<40}" + "".join(f"{one:>12}" for one in headings))
    for name, both in samples.items():
        wall, cpu = zip(*both, strict=True)
        figures = [statistics.median(wall), _p99(wall), min(wall)]
        if not name.startswith(("H2O", "fresh")):
            figures += [statistics.median(cpu), _p99(cpu)]
        print(f"{name:<40}" + "".join(f"{1e3 * one:>12.4f}" for one in figures))
    wall, cpu = zip(*samples["three members, features given"], strict=True)
    fresh, _ = zip(*samples["fresh process"], strict=True)
    for name, found, target in (
        ("median, features given", statistics.median(wall), TARGET_MEDIAN_S),
        ("p99, features given", _p99(wall), TARGET_P99_S),
        ("p99 of processor time, features given", _p99(cpu), TARGET_P99_S),
        (
            "median, as shipped, from text",
            statistics.median(one for one, _ in samples[SHIPPED]),
            TARGET_MEDIAN_S,
        ),
        ("fresh process", statistics.median(fresh), TARGET_FRESH_S),
    ):
        verdict = "reached" if found <= target else "missed"
        print(f"{name}: {1e3 * found:.4f} ms, target {1e3 * target:g} ms, {verdict}")
    if "H2O, one frame" in samples:
        h2o_s = statistics.median(one for one, _ in samples["H2O, one frame"])
        ratio = h2o_s / statistics.median(wall)
        print(f"H2O on one frame takes {ratio:,.0f} times as long as the compiled members")


def _p99(seconds: tuple[float, ...]) -> float:
    return float(np.quantile(seconds, 0.99))


if __name__ == "__main__":
    sys.exit(main())
