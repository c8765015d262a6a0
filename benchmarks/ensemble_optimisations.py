"""What each optimization of an ensemble is worth: before and after, in turns, row by row.

    python benchmarks/ensemble_optimisations.py [--only NAME ...] [--output FILE]

The rows are those that guides to such systems name: one frame for all three members of H2O, column
types, a GPU, lazy loading, dynamic int8, ONNX Runtime, batches, a cache, members at the same time,
and shorter texts; and beside each what this project does in its place. Before and after take turns
in random order, block by block (ivme.measure.compare). A row that cannot run here says why: H2O
needs Java, a GPU row a GPU.

For a short look: --bert preset:bert-tiny --roberta preset:bert-tiny --budget 2.
"""

import argparse
import contextlib
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ensemble_scoring import LABELS, WORDS, make_ensemble, mixed_texts, text_of, train_members

from ivme.engines.protocol import EngineOptions, Session
from ivme.engines.registry import choose_engine
from ivme.ensemble import Predictor
from ivme.ensemble.features import NgramSettings
from ivme.ensemble.trainers.settings import MEMBERS, H2OPlace, MemberSettings
from ivme.hardware.inventory import read_inventory
from ivme.hardware.threads import ThreadSettings, apply_threads
from ivme.measure.compare import ComparePlan, compare
from ivme.measure.records import Comparison, library_versions
from ivme.models.loading import load_model
from ivme.tune.plan import load_plan

BATCH = 10  # texts, as the guide has it
SHORTER_TOKENS = 256
H2O_TEXTS = 200  # that its models are trained on
Ways = dict[str, Callable[[], object]]  # the first: before; the others: after


@dataclass(frozen=True, kw_only=True)
class Row:
    """An optimization: how it compares with what was before, or why it was not measured."""

    name: str
    comparisons: tuple[Comparison, ...] = ()
    skipped: str | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the rows share: models, threads, the ensemble's folder, and texts."""

    bert: str
    threads: int
    folder: Path
    text: str
    texts: Sequence[str]


class NotHereError(Exception):
    """A row that this machine cannot run; the message says why."""


def main() -> int:
    options = _parser().parse_args()
    apply_threads(ThreadSettings(intra=options.threads))
    place = Place(
        bert=options.bert,
        threads=options.threads,
        folder=make_ensemble(options.folder, options.bert, options.roberta, options.engine),
        text=text_of(WORDS, options.seed),
        texts=mixed_texts(options.seed, BATCH),
    )
    rows = []
    for name in options.only:
        row = _measure(name, place, options.budget)
        rows.append(row)
        _print(row)
    content = {
        "command": sys.argv,
        "machine": asdict(read_inventory()),
        "versions": library_versions(),
        "settings": {name: str(value) for name, value in vars(options).items()},
        "rows": [asdict(row) for row in rows],
    }
    if options.output:
        options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME")
    parser.add_argument("--bert", default="preset:bert-base")
    parser.add_argument("--roberta", default="preset:roberta-base")
    parser.add_argument("--engine", default="fused:int8", help="of the ensemble's plans")
    parser.add_argument("--threads", type=int, default=2, help="in all, of every way")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds a row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, default=Path("out/ensemble"), help="of the ensemble, kept"
    )
    parser.add_argument("--output", type=Path, help="file for all raw samples, as JSON")
    return parser


def _measure(name: str, place: Place, budget_s: float) -> Row:
    plan = ComparePlan(budget_s=budget_s, warmup_calls=1)
    try:
        with ROWS[name](place) as ways:
            return Row(name=name, comparisons=tuple(compare(ways, plan=plan)))
    except NotHereError as reason:
        return Row(name=name, skipped=str(reason))


def _print(row: Row) -> None:
    if row.skipped:
        print(f"{row.name}: not measured: {row.skipped}", flush=True)
    for one in row.comparisons:
        before, after = (
            statistics.median(second for block in one.blocks for second in block["seconds"][name])
            for name in (one.baseline, one.variant)
        )
        low, high = one.interval
        print(
            f"{row.name}: {one.baseline} {1e3 * before:,.2f} ms, {one.variant} "
            f"{1e3 * after:,.2f} ms: {1 / one.ratio:.2f} times as fast, {1 / high:.2f} to "
            f"{1 / low:.2f} ({one.verdict})",
            flush=True,
        )


@contextlib.contextmanager
def _h2o_frames(place: Place) -> Iterator[Ways]:
    with _h2o_models(place) as (models, frame, own):
        yield {
            "a frame for each of three models": lambda: [_ask(one, frame()) for one in models],
            "one frame for all": lambda: _ask_all(models, frame()),
            "compiled, no H2O": own,
        }


@contextlib.contextmanager
def _h2o_column_types(place: Place) -> Iterator[Ways]:
    with _h2o_models(place) as (_, frame, _):
        yield {
            "frame, types guessed": frame,
            "frame, types given": lambda: frame(typed=True),
        }


@contextlib.contextmanager
def _features_once(place: Place) -> Iterator[Ways]:
    tabular = train_members(place.folder.parent / "features_once")
    members = tabular.members.values()

    def for_each() -> None:
        for member in members:
            member.probabilities(tabular.features.transform(place.text))

    yield {"features for each member": for_each, "features once": lambda: tabular.score(place.text)}


@contextlib.contextmanager
def _gpu(place: Place) -> Iterator[Ways]:
    import torch

    if not torch.cuda.is_available():
        raise NotHereError("no GPU that torch can use is on this machine")
    with (
        _session(place, "transformers:float32") as cpu,
        _session(place, "transformers:float32", device="cuda") as gpu,
    ):
        yield {"processor": _asks(cpu, place.text), "GPU": _asks(gpu, place.text)}


@contextlib.contextmanager
def _lazy_loading(place: Place) -> Iterator[Ways]:
    load = "predictor = Predictor.load(sys.argv[1], threads=int(sys.argv[2]))"
    answer = "predictor.predict_all(sys.argv[3])"
    yield {
        "ready after loading all": _fresh(place, f"{load}; predictor.initialize()"),
        "ready at once, members at first use": _fresh(place, load),
        "ready at once, and the first answer": _fresh(place, f"{load}; {answer}"),
    }


@contextlib.contextmanager
def _dynamic_int8(place: Place) -> Iterator[Ways]:
    import torch

    with (
        _session(place, "transformers:float32") as eager,
        _session(place, "openvino:int8") as int8,
        load_plan(place.folder / "BERT", threads=place.threads) as plan,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # quantize_dynamic is deprecated, and what the guide names
        model = load_model(place.bert, dtype="float32", device="cpu")
        quantized = torch.ao.quantization.quantize_dynamic(
            model.model, {torch.nn.Linear}, dtype=torch.qint8
        )
        inputs = model.tokenizer(
            place.text, return_tensors="pt", truncation=True, max_length=model.max_length
        )

        def run_quantized() -> None:
            with torch.inference_mode():
                quantized(**inputs)

        yield {
            "PyTorch, float32": _asks(eager, place.text),
            "PyTorch, quantize_dynamic": run_quantized,
            "OpenVINO, dynamic int8": _asks(int8, place.text),
            "the plan of the ensemble": lambda: plan(place.text),
        }


@contextlib.contextmanager
def _onnxruntime(place: Place) -> Iterator[Ways]:
    with (
        _session(place, "transformers:float32") as eager,
        _session(place, "onnxruntime:float32") as float32,
        _session(place, "onnxruntime:int8") as int8,
    ):
        yield {
            "PyTorch, float32": _asks(eager, place.text),
            "ONNX Runtime, float32": _asks(float32, place.text),
            "ONNX Runtime, int8": _asks(int8, place.text),
        }


@contextlib.contextmanager
def _batches(place: Place) -> Iterator[Ways]:
    with _session(place, "transformers:float32") as eager:
        yield {
            f"PyTorch, {BATCH} texts one by one": lambda: [
                eager.predict([text]) for text in place.texts
            ],
            f"PyTorch, {BATCH} texts in one padded batch": lambda: eager.predict(place.texts),
        }


@contextlib.contextmanager
def _length_aware_batches(place: Place) -> Iterator[Ways]:
    with _predictor(place) as predictor:
        yield {
            f"five members, {BATCH} texts one by one": lambda: [
                predictor.predict_all(text) for text in place.texts
            ],
            f"five members, {BATCH} texts by length": lambda: predictor.predict_batch(place.texts),
        }


@contextlib.contextmanager
def _cache(place: Place) -> Iterator[Ways]:
    with _predictor(place) as without, Predictor.load(place.folder) as cached:
        yield {
            "no cache": lambda: without.predict_all(place.text),
            "in the cache": lambda: cached.predict_all(place.text),
        }


@contextlib.contextmanager
def _at_the_same_time(place: Place) -> Iterator[Ways]:
    with _predictor(place, at_a_time=1) as in_turn, _predictor(place) as side_by_side:
        yield {
            "members one after the other": lambda: in_turn.predict_all(place.text),
            "members side by side": lambda: side_by_side.predict_all(place.text),
        }


@contextlib.contextmanager
def _shorter_texts(place: Place) -> Iterator[Ways]:
    limit = load_model(place.bert, dtype="float32", device="cpu").max_length or 512
    with (
        _session(place, "transformers:float32") as whole,
        _session(place, "transformers:float32", max_length=min(SHORTER_TOKENS, limit)) as cut,
    ):
        yield {
            f"PyTorch, up to {limit} tokens": _asks(whole, place.text),
            f"PyTorch, up to {SHORTER_TOKENS} tokens": _asks(cut, place.text),
        }


ROWS: dict[str, Callable[[Place], contextlib.AbstractContextManager[Ways]]] = {
    "frame once": _h2o_frames,
    "features once": _features_once,
    "column types": _h2o_column_types,
    "GPU": _gpu,
    "lazy loading": _lazy_loading,
    "dynamic int8": _dynamic_int8,
    "ONNX Runtime": _onnxruntime,
    "batches": _batches,
    "length-aware batches": _length_aware_batches,
    "cache": _cache,
    "members at the same time": _at_the_same_time,
    "shorter texts": _shorter_texts,
}


@contextlib.contextmanager
def _h2o_models(place: Place) -> Iterator[tuple[list[Any], Callable[..., Any], Callable[..., Any]]]:
    """Yield three models of H2O, what makes a frame of the text, and the same without H2O."""
    if importlib.util.find_spec("h2o") is None or shutil.which("java") is None:
        raise NotHereError("it needs h2o and Java (pip install 'ivme[h2o]', Java 17)")
    from ivme.ensemble.trainers.h2o_cluster import LABEL_COLUMN, h2o_cluster, uploaded
    from ivme.ensemble.trainers.h2o_description import describe_h2o
    from ivme.ensemble.trainers.h2o_export import compile_h2o
    from ivme.ensemble.trainers.h2o_trainer import column_means, h2o_estimator
    from ivme.ensemble.trainers.tfidf_fitting import fit_features

    texts = [text_of(80, at) for at in range(H2O_TEXTS)]
    numbers = np.arange(H2O_TEXTS) % len(LABELS)
    features = fit_features(texts, [NgramSettings()])  # 5,000 n-grams of words, as the guide has
    names, rows = features.names, features.transform_batch(texts)
    sizes = MemberSettings(forest_trees=50, boosting_trees=50)
    with (
        h2o_cluster(H2OPlace(threads=place.threads)) as h2o,
        uploaded(h2o, rows, names, numbers) as training,
    ):
        models = []
        for name in MEMBERS:
            model = h2o_estimator(name, sizes, len(LABELS), len(rows))
            model.train(x=list(names), y=LABEL_COLUMN, training_frame=training)
            models.append(model)
        compiled = [compile_h2o(describe_h2o(one), names, column_means(rows)) for one in models]
        dense = features.transform(place.text).to_dense()[0].tolist()

        def frame(*, typed: bool = False) -> Any:
            types = {"column_types": ["numeric"] * len(names)} if typed else {}
            return h2o.H2OFrame([dense], column_names=list(names), **types)

        def score() -> list[Any]:
            row = features.transform(place.text)
            return [member.probabilities(row) for member in compiled]

        yield models, frame, score


def _ask(model: Any, frame: Any) -> Any:
    return model.predict(frame).as_data_frame(use_pandas=False, header=False)


def _ask_all(models: Sequence[Any], frame: Any) -> list[Any]:
    return [_ask(model, frame) for model in models]


@contextlib.contextmanager
def _session(
    place: Place, choice: str, *, device: str = "cpu", max_length: int | None = None
) -> Iterator[Session]:
    engine, precision = choose_engine(choice)
    model = load_model(place.bert, dtype="float32", device=device)
    options = EngineOptions(threads=place.threads, precision=precision, max_length=max_length)
    with contextlib.closing(engine.prepare(model, options)) as session:
        yield session


def _asks(session: Session, text: str) -> Callable[[], object]:
    return lambda: session.predict([text])


@contextlib.contextmanager
def _predictor(place: Place, **arguments: Any) -> Iterator[Predictor]:
    with Predictor.load(
        place.folder, threads=place.threads, cache_size=0, **arguments
    ) as predictor:
        predictor.initialize()
        yield predictor


def _fresh(place: Place, code: str) -> Callable[[], object]:
    program = f"import sys; from ivme.ensemble import Predictor; {code}"
    command = [sys.executable, "-c", program, str(place.folder), str(place.threads), place.text]
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
