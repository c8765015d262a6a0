"""Plans: written whole, read back the same, and refused with a reason when they are not."""

import dataclasses
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import ivme
from ivme.engines.batch_costs import BatchCost
from ivme.engines.batching import Batching, predict_all
from ivme.engines.buckets import few_lengths
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.errors import PlanError, UsageError
from ivme.models.loading import LoadedModel, load_model
from ivme.tune.plan import PLAN_FILE, Plan, read_plan, write_plan
from ivme.tune.variants import Variant

TEXTS = ["a short one", "a text with a few words more than the other", "b", "", "c d e f g"]
BATCHING = Batching(
    batch_size=3,
    order="packed",
    max_batch_tokens=64,
    padding="bucketed",
    buckets=(8, 16, 32),
    cost=BatchCost(call_s=0.002, token_s=0.0001),
    streams=2,
)


@pytest.fixture(scope="session")
def model() -> LoadedModel:
    return load_model("preset:bert-tiny")


def make(
    folder: Path, model: LoadedModel, engine: str = "onnxruntime", batching: Batching = BATCHING
) -> Plan:
    return write_plan(
        folder,
        model=model,
        variant=Variant(engine=engine, precision="float32", threads=1, batching=batching),
        options=EngineOptions(max_length=32),
        evidence={"speedup": {"ratio": 8.5, "interval": [8.1, 8.9]}, "record": "tune.json"},
        notes=["a note"],
    )


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, model: LoadedModel) -> Path:
    folder = tmp_path_factory.mktemp("plans") / "plan"
    make(folder, model)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "plan"))


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / PLAN_FILE
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "transformers"])
def test_a_plan_answers_as_the_session_that_it_was_made_from(
    engine: str, model: LoadedModel, tmp_path: Path
) -> None:
    plan = make(tmp_path / "plan", model, engine)
    session = get_engine(engine).prepare(model, EngineOptions(max_length=32, precision="float32"))
    expected = predict_all(session, TEXTS, Batching())

    assert read_plan(tmp_path / "plan") == dataclasses.replace(
        plan, machine=json.loads(json.dumps(plan.machine))
    )
    with ivme.load_plan(tmp_path / "plan") as predictor:
        found = predictor(TEXTS)
        single = predictor(TEXTS[0])
        assert predictor.count_tokens(TEXTS) == session.count_tokens(TEXTS)
        assert predictor.labels == model.labels
    assert single.label == expected[0].label
    for one, other in zip(expected, found, strict=True):
        assert one.label == other.label
        np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-5)


@pytest.mark.parametrize("tokenizer", ["file", "transformers"])
def test_a_generating_model_pads_on_the_left_in_its_plan_too(
    tokenizer: str, tmp_path: Path
) -> None:
    generating = load_model("preset:gpt2-tiny")
    batching = Batching(batch_size=2)
    plan = make(tmp_path / "plan", generating, batching=batching)
    assert plan.tokenizer == "file"
    edit(tmp_path / "plan", lambda content: content.update(tokenizer=tokenizer, new_tokens=4))
    options = EngineOptions(max_length=32, new_tokens=4)
    session = get_engine("transformers").prepare(generating, options)

    with ivme.load_plan(tmp_path / "plan") as predictor:
        texts = ["The list of", "A longer text that the other is padded to"]
        assert predictor(texts) == session.predict(texts)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_plan_of_an_exported_model_starts_without_pytorch(
    engine: str, model: LoadedModel, tmp_path: Path
) -> None:
    make(tmp_path / "plan", model, engine)
    code = (
        "import sys, ivme\n"
        "with ivme.load_plan(sys.argv[1]) as predictor: print(predictor('a text').label)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "plan")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("LABEL_")


def test_a_plan_with_buckets_has_met_each_shape_before_its_first_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ivme.engines.onnxruntime_engine import OnnxRuntimeEngine

    shapes: list[tuple[int, int]] = []
    inner = OnnxRuntimeEngine.open

    def open_and_watch(self, folder, model, options):
        session = inner(self, folder, model, options)
        predict = session.predict

        def watched(texts, stages=None):
            shapes.append((len(texts), max(session.count_tokens(texts))))
            return predict(texts, stages)

        session.predict = watched
        return session

    monkeypatch.setattr(OnnxRuntimeEngine, "open", open_and_watch)
    ivme.load_plan(folder).close()

    assert shapes == 2 * [(1, 8), (3, 8), (1, 16), (3, 16), (1, 32), (2, 32)]


@pytest.mark.parametrize("streams", [1, 2])
def test_threads_may_share_a_predictor(streams: int, model: LoadedModel, tmp_path: Path) -> None:
    batching = dataclasses.replace(BATCHING, streams=streams)
    make(tmp_path / "plan", model, batching=batching)
    many = [f"text {number} " * (number % 5 + 1) for number in range(24)]
    with ivme.load_plan(tmp_path / "plan") as predictor:
        expected = [prediction.label for prediction in predictor(many)]
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(predictor, [many] * 8))
    assert [[one.label for one in answers] for answers in found] == [expected] * 8


@pytest.mark.parametrize("engine", ["onnxruntime", "transformers"])
def test_texts_are_cut_to_what_is_asked_for_or_to_what_the_model_takes(
    engine: str, model: LoadedModel, tmp_path: Path
) -> None:
    write_plan(
        tmp_path / "plan",
        model=model,
        variant=Variant(engine=engine, precision="float32", threads=1, batching=Batching()),
        options=EngineOptions(),
        evidence={},
    )
    many = " ".join(["word"] * 3000)
    for asked, expected in ((16, 16), (10_000, model.max_length), (None, model.max_length)):
        with ivme.load_plan(tmp_path / "plan", max_length=asked) as predictor:
            assert predictor.max_length == expected
            assert predictor.count_tokens([many]) == [expected]


def test_a_closed_predictor_says_so(folder: Path) -> None:
    predictor = ivme.load_plan(folder)
    predictor.close()

    with pytest.raises(UsageError, match="the model was closed before this call"):
        predictor("a text")


def test_others_may_read_a_plan_as_a_container_does(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        needed = 0o055 if path.is_dir() else 0o044
        assert path.stat().st_mode & needed == needed, path


def test_a_plan_replaces_a_plan_and_nothing_else(folder: Path, model: LoadedModel) -> None:
    (folder / "artefact" / "old").write_text("old")
    make(folder, model)
    assert not (folder / "artefact" / "old").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]

    (folder / PLAN_FILE).unlink()
    with pytest.raises(UsageError, match="the folder holds something else; name an empty"):
        make(folder, model)
    with pytest.raises(UsageError, match="it is a file; name a folder"):
        make(folder / "interface.json", model)


def test_a_plan_that_fails_to_be_written_leaves_nothing(tmp_path: Path, model: LoadedModel) -> None:
    variant = Variant(
        engine="onnxruntime", precision="float32", threads=1, batching=Batching(batch_size=1)
    )
    with pytest.raises(TypeError, match="is not JSON serializable"):
        write_plan(
            tmp_path / "plan",
            model=model,
            variant=variant,
            options=EngineOptions(),
            evidence={"ratio": object()},
        )
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_is_not_finite_is_null(tmp_path: Path, model: LoadedModel) -> None:
    tried = [{"name": "other:int8", "quality": {"loss": float("nan"), "loss_bound": math.inf}}]
    write_plan(
        tmp_path / "plan",
        model=model,
        variant=Variant(engine="transformers", precision="float32", threads=1, batching=Batching()),
        options=EngineOptions(),
        evidence={"tried": tried, "ratio": 0.5},
    )
    read = read_plan(tmp_path / "plan").evidence
    assert read == {
        "tried": [{"name": "other:int8", "quality": {"loss": None, "loss_bound": None}}],
        "ratio": 0.5,
    }


def test_a_plan_from_another_machine_works_and_says_so(folder: Path) -> None:
    def move(content: dict) -> None:
        content["machine"]["processor"]["name"] = "Another Processor"
        content["versions"]["onnxruntime"] = "0.1"

    edit(folder, move)
    with ivme.load_plan(folder) as predictor:
        assert predictor("a text").label in predictor.labels
        notes = " ".join(predictor.notes)
    assert "this plan was tuned on Another Processor" in notes
    assert "its figures are not from this machine" in notes
    assert "tuned with onnxruntime 0.1" in notes
    assert "plan.json was edited after it was tuned" in notes


def test_a_plan_as_it_was_written_needs_no_notes_on_its_place(folder: Path) -> None:
    with ivme.load_plan(folder) as predictor:
        assert not any("figures" in note or "edited" in note for note in predictor.notes)


def test_a_plan_for_more_threads_than_are_here_says_so(folder: Path) -> None:
    edit(folder, lambda content: content["variant"].update(threads=500))

    with ivme.load_plan(folder) as predictor:
        assert any("1000 threads" in note for note in predictor.notes)


EDITS = {
    "an unknown engine": (("variant", "engine", "warp"), "engine='warp'; expected one of"),
    "an engine as a list": (
        ("variant", "engine", ["openvino"]),
        r"engine=\['openvino'\]; expected one of",
    ),
    "a batch of halves": (
        ("variant", "batching", {"batch_size": 8.5}),
        "batch_size=8.5; expected 1 or more, a whole",
    ),
    "an order as a list": (("variant", "batching", {"order": ["sorted"]}), "batching: "),
    "a precision as a list": (("variant", "precision", ["int8"]), "onnxruntime has"),
    "a kind as a list": (("kind", ["classifier"]), "expected a text"),
    "an unknown precision": (("variant", "precision", "int3"), "precision='int3'; onnxruntime has"),
    "no threads": (("variant", "threads", 0), "threads=0; expected a number of 1 or more"),
    "too many threads": (
        ("variant", "threads", 5000),
        "threads=5000; expected .* at most 1,024",
    ),
    "threads as text": (("variant", "threads", "2"), "threads='2'; expected a number"),
    "a batch of none": (("variant", "batching", {"batch_size": 0}), "batching: batch_size=0"),
    "a batch as text": (("variant", "batching", {"batch_size": "8"}), "batching: "),
    "an unknown limit": (("variant", "batching", {"size": 8}), "expected an object of"),
    "a wrong cost": (("variant", "batching", {"order": "packed", "cost": 3}), "cost=3; expected"),
    "an unknown kind": (("kind", "oracle"), "kind='oracle'; expected one of"),
    "a length of none": (("max_length", 0), "max_length=0; expected a number of 1 or more"),
    "an unknown tokenizer": (("tokenizer", "mine"), "'mine'; expected file or transformers"),
    "a newer format": (("format_version", 9), "has format 9; this ivme reads up to 1: upgrade"),
    "another file": (("format", "other"), "is JSON but no plan of ivme"),
    "notes as text": (("notes", "x"), "notes='x'; expected a list"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_value_that_a_plan_cannot_have_is_named(name: str, folder: Path) -> None:
    (*path, last, value), message = EDITS[name]

    def change(content: dict) -> None:
        for step in path:
            content = content[step]
        content[last] = value

    edit(folder, change)
    with pytest.raises(PlanError, match=message):
        ivme.load_plan(folder)


def test_a_plan_without_a_field_names_it(folder: Path) -> None:
    edit(folder, lambda content: content.pop("dtype"))
    with pytest.raises(PlanError, match="has no 'dtype'; run `ivme tune` again"):
        ivme.load_plan(folder)


def flip_last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


DAMAGE = {
    "no plan.json": (lambda folder: (folder / PLAN_FILE).unlink(), "is no plan: it has no plan"),
    "no JSON": (lambda folder: (folder / PLAN_FILE).write_text("{"), "is not valid JSON"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    "a missing file": (lambda folder: (folder / "interface.json").unlink(), "json is missing; run"),
    "a changed file": (
        lambda folder: flip_last_byte(folder / "tokenizer" / "tokenizer.json"),
        "has another checksum than when it was written",
    ),
    "a cut file": (
        lambda folder: (folder / "interface.json").write_text(""),
        "has 0 bytes, not",
    ),
    "a path outside": (
        lambda folder: (folder / "manifest.json").write_text(
            '{"files": {"../x": {"size_bytes": 0, "sha256": ""}}}'
        ),
        r"'../x' lies outside the folder",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_plan_names_the_file_and_the_remedy(name: str, folder: Path) -> None:
    damage, message = DAMAGE[name]
    damage(folder)

    with pytest.raises(PlanError, match=message) as raised:
        ivme.load_plan(folder)
    assert "\n" not in str(raised.value)


def test_large_files_are_compared_unless_asked_not_to(folder: Path) -> None:
    large = max(folder.rglob("artefact/*"), key=lambda path: path.stat().st_size)
    assert large.stat().st_size > 2**20
    content = bytearray(large.read_bytes())
    content[len(content) // 2] ^= 1
    large.write_bytes(content)

    with pytest.raises(PlanError, match="has another checksum"):
        ivme.load_plan(folder)
    ivme.load_plan(folder, verify=False).close()


def test_an_engine_that_is_not_installed_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PlanError, match="needs onnxruntime, and that is not installed here") as at:
        ivme.load_plan(folder)
    assert "pip install onnxruntime" in str(at.value)


def test_a_predictor_kept_to_few_shapes_gives_the_same_answers(
    tmp_path: Path, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "plan", model, "openvino", Batching())
    texts = [" ".join(["word"] * number) for number in range(1, 24)]
    with ivme.load_plan(tmp_path / "plan") as predictor:
        expected = predictor(texts)
        predictor.keep_to_few_shapes(within_s=60)
        [session] = predictor.session.sessions
        shapes, compute = set(), session.compute

        def watched(batch: dict) -> np.ndarray:
            shapes.add(batch["input_ids"].shape)
            return compute(batch)

        monkeypatch.setattr(session, "compute", watched)
        found = predictor.batched(batch_size=16)(texts)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
    assert {rows for rows, _ in shapes} <= {1, 2, 4, 8, 16}
    assert {tokens for _, tokens in shapes} <= set(few_lengths(32))


def test_an_engine_that_prepares_for_no_shape_goes_on_as_it_was(whole: Path) -> None:
    with ivme.load_plan(whole) as predictor:
        expected = predictor(TEXTS)
        predictor.keep_to_few_shapes(within_s=60)
        for one, other in zip(predictor(TEXTS), expected, strict=True):
            np.testing.assert_array_equal(one.probabilities, other.probabilities)
