"""Exported models in ONNX Runtime, against the same models in PyTorch."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ivme.engines import onnx_building, onnx_graphs, onnxruntime_calls
from ivme.engines.artefacts import cached_artefact
from ivme.engines.onnxruntime_engine import OnnxRuntimeEngine
from ivme.engines.onnxruntime_sessions import OnnxRuntimeSession
from ivme.engines.protocol import ArtefactEngine, EngineOptions, Prediction, StageSeconds
from ivme.engines.transformers_engine import TransformersEngine
from ivme.errors import OutOfMemoryError, RefusedError, UsageError, WorkloadError
from ivme.models.interface import ModelInterface
from ivme.models.loading import LoadedModel, load_model
from ivme.models.pooling import Pooling
from ivme.models.synthetic import put_mask_in

KINDS = ("classifier", "masked", "causal", "seq2seq", "embedding")
ENCODERS = ("classifier", "masked", "embedding")
TOLERANCE = 1e-4  # float32 sums in another order, through all layers
# Of 8-bit steps, through two layers of random weights; a wrong scale is off by tens of percent.
INT8_TOLERANCE = 0.05
MIXED = (0, 1, 2)  # of the fixture's texts: lengths 11, 5 and 37

Models = dict[str, LoadedModel]


def prepare(models: Models, kind: str, **options: Any) -> OnnxRuntimeSession:
    settings = EngineOptions(**{"new_tokens": 6, **options})
    return OnnxRuntimeEngine().prepare(models[kind], settings)


def reference(models: Models, kind: str, texts: Sequence[str], **options: Any) -> list[Prediction]:
    settings = EngineOptions(**{"new_tokens": 6, **options})
    return TransformersEngine().prepare(models[kind], settings).predict(texts)


def for_kind(texts: Sequence[str], models: Models, kind: str) -> tuple[str, ...]:
    if kind != "masked":
        return tuple(texts)
    return put_mask_in(texts, models[kind].tokenizer.mask_token)


def assert_alike(
    ours: Sequence[Prediction], theirs: Sequence[Prediction], tolerance: float = TOLERANCE
) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.label, one.text) == (other.label, other.text)
        for field in ("probabilities", "vector"):
            left, right = getattr(one, field), getattr(other, field)
            assert (left is None) == (right is None)
            if left is not None:
                assert left.dtype == np.float32
                np.testing.assert_allclose(left, right, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_answers_as_pytorch_does(models: Models, texts: tuple[str, ...], kind: str) -> None:
    given = for_kind(texts, models, kind)
    session = prepare(models, kind)

    predictions = session.predict(given)

    assert session.precision == "float32"
    assert_alike(predictions, reference(models, kind, given))
    assert_alike([session.predict([text])[0] for text in given], predictions)


@pytest.mark.parametrize("mode", ["first", "last"])
def test_every_pooling_is_part_of_the_file(
    models: Models, texts: tuple[str, ...], mode: str
) -> None:
    pooling = Pooling(mode=mode, is_normalized=True)
    model = {"embedding": replace(models["embedding"], pooling=pooling)}

    assert_alike(prepare(model, "embedding").predict(texts), reference(model, "embedding", texts))


@pytest.mark.parametrize("kind", KINDS)
def test_int8_answers_nearly_so(models: Models, texts: tuple[str, ...], kind: str) -> None:
    given = for_kind(texts, models, kind)
    session = prepare(models, kind, precision="int8")

    predictions = session.predict(given)

    assert session.precision == "int8"
    theirs = reference(models, kind, given)
    if kind in ("classifier", "embedding"):
        assert_alike(predictions, theirs, INT8_TOLERANCE)
        with pytest.raises(AssertionError):
            assert_alike(predictions, theirs, 1e-6)  # else nothing was quantized
        return
    same = sum(one.text == other.text for one, other in zip(predictions, theirs, strict=True))
    assert same >= 2  # of five: with random weights the likeliest words are close to each other


@pytest.mark.parametrize("kind", ["classifier", "masked"])
def test_int8_with_ranges_from_texts(models: Models, texts: tuple[str, ...], kind: str) -> None:
    given = for_kind(texts, models, kind)
    session = prepare(models, kind, precision="int8-static", calibration_texts=given)

    predictions = session.predict(given)

    assert session.precision == "int8-static"
    if kind == "classifier":
        assert_alike(predictions, reference(models, kind, given), INT8_TOLERANCE)
    assert len(predictions) == len(given)


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
@pytest.mark.parametrize("new_tokens", [1, 9])
def test_generated_texts_are_those_of_generate(
    models: Models, texts: tuple[str, ...], kind: str, new_tokens: int
) -> None:
    """In one batch of mixed lengths, so that padding and positions must be right."""
    given = [texts[number] for number in MIXED]
    session = prepare(models, kind, new_tokens=new_tokens)

    predictions = session.predict(given)

    expected = reference(models, kind, given, new_tokens=new_tokens)
    assert [one.text for one in predictions] == [one.text for one in expected]
    assert len({one.text for one in expected}) > 1


def test_an_end_token_does_not_end_a_text_early(models: Models, texts: tuple[str, ...]) -> None:
    session = prepare(models, "causal", new_tokens=6)
    first = session._compute(_arrays(models["causal"], texts[0]))
    ends = {**session.description["generation"], "eos_token_id": int(first[0, 0])}
    session.description = {**session.description, "generation": ends}

    output = session._compute(_arrays(models["causal"], texts[0]))

    assert output.shape == first.shape == (1, 6)
    assert first[0, 0] not in output


def _arrays(model: LoadedModel, text: str) -> dict[str, np.ndarray]:
    return dict(model.tokenizer([text], return_tensors="np"))


def test_padding_further_and_buckets_do_not_change_the_answers(
    models: Models, texts: tuple[str, ...]
) -> None:
    for kind in ("classifier", "causal"):
        plain = prepare(models, kind).predict(texts)
        assert_alike(prepare(models, kind, pad_to=64).predict(texts), plain)
        assert_alike(prepare(models, kind, buckets=(48,)).predict(texts), plain)


def test_the_exported_copy_is_made_once(
    models: Models, texts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(models, "classifier", threads=1).predict(texts)

    def refuse(*_: object) -> None:
        raise AssertionError("exported again")

    monkeypatch.setattr(onnx_building, "build_files", refuse)
    again = prepare(models, "classifier", threads=2, max_length=100)

    assert_alike(again.predict(texts), first)


def test_sessions_have_the_threads_asked_for(models: Models) -> None:
    session = prepare(models, "seq2seq", threads=2)

    used = [graph.get_session_options() for graph in session.graphs.values()]

    assert [options.intra_op_num_threads for options in used] == [2, 2]
    assert [options.inter_op_num_threads for options in used] == [1, 1]


def test_exporting_leaves_the_model_as_it_was(tmp_path: Path, texts: tuple[str, ...]) -> None:
    for name in ("bert-tiny", "t5-tiny"):
        model = load_model(f"preset:{name}")
        before = TransformersEngine().prepare(model, EngineOptions()).predict(texts)
        state = {key: value.clone() for key, value in model.model.state_dict().items()}
        config = model.model.config.to_dict()
        (tmp_path / name).mkdir()

        OnnxRuntimeEngine().build(model, EngineOptions(), tmp_path / name)

        assert_alike(TransformersEngine().prepare(model, EngineOptions()).predict(texts), before)
        assert model.model.config.to_dict() == config
        attentions = {module.config._attn_implementation for module in _configured(model)}
        assert attentions == {model.attention}
        assert not any(module.training for module in model.model.modules())
        assert all(value.equal(state[key]) for key, value in model.model.state_dict().items())
        assert all(weight.grad is None for weight in model.model.parameters())


def _configured(model: LoadedModel) -> list[Any]:
    return [module for module in model.model.modules() if hasattr(module, "config")]


def test_all_fusions_fire_on_a_model_that_is_known(models: Models) -> None:
    assert prepare(models, "classifier").notes == ()


def test_fusions_that_do_not_fire_are_named(models: Models, tmp_path: Path) -> None:
    plain = cached_artefact(OnnxRuntimeEngine(), models["classifier"], EngineOptions())
    graph = onnx_building.ENCODER

    assert onnx_graphs.fusions_missing(plain / graph, layers=2) == ()
    assert onnx_graphs.fusions_missing(plain / graph, layers=3) == (
        "attention (2 of 3)",
        "GELU (2 of 3)",
    )


def test_a_fusion_that_changes_the_answers_is_undone_and_told(
    models: Models, texts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    def spoil(source: Path, target: Path, **_: int) -> None:
        model = onnx.load(str(source))
        bias = next(each for each in model.graph.initializer if each.name.endswith("ifier.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(np.ones(2, np.float32), bias.name))
        onnx.save(model, str(target))

    monkeypatch.setattr(onnx_graphs, "fuse_encoder", spoil)
    engine, model = OnnxRuntimeEngine(), models["classifier"]
    engine.build(model, EngineOptions(), tmp_path)
    session = engine.open(tmp_path, model, EngineOptions())

    assert "fusions that did not fire: all (with them answers are" in session.notes[0]
    assert_alike(session.predict(texts), reference(models, "classifier", texts))


def test_weights_beyond_the_limit_of_one_file_go_to_a_second(
    models: Models, texts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graphs, "PROTOBUF_LIMIT_BYTES", 2**20)
    engine, model = OnnxRuntimeEngine(), models["classifier"]
    for precision in ("float32", "int8"):
        options, folder = EngineOptions(precision=precision), tmp_path / precision
        folder.mkdir()
        engine.build(model, options, folder)

        names = {path.name for path in folder.iterdir()}
        assert names == {"model.onnx", "model.onnx.data", "graph.json"}
        predictions = engine.open(folder, model, options).predict(texts)
        assert_alike(predictions, reference(models, "classifier", texts), INT8_TOLERANCE)


OPENING = """
import sys
from pathlib import Path
from ivme.engines.onnxruntime_engine import OnnxRuntimeEngine
from ivme.engines.protocol import EngineOptions
from ivme.models.interface import ModelInterface
model = ModelInterface.load(Path(sys.argv[1]), tokenizer="file")
session = OnnxRuntimeEngine().open(Path(sys.argv[2]), model, EngineOptions(new_tokens=6))
print(session.predict([sys.argv[3]])[0].text)
print([name for name in ("torch", "transformers", "onnx") if name in sys.modules])
"""


def test_a_fresh_process_opens_the_files_without_pytorch(
    models: Models, texts: tuple[str, ...], tmp_path: Path
) -> None:
    model = models["causal"]
    ModelInterface.of(model).save(tmp_path)
    artefact = cached_artefact(OnnxRuntimeEngine(), model, EngineOptions())
    command = [sys.executable, "-c", OPENING, str(tmp_path), str(artefact), texts[0]]

    run = subprocess.run(command, capture_output=True, text=True, check=False)

    assert run.stderr == ""
    text = reference(models, "causal", texts[:1])[0].text
    assert run.stdout == f"{text}\n[]\n"


def test_one_session_serves_several_threads(models: Models, texts: tuple[str, ...]) -> None:
    for kind in ("classifier", "causal"):
        session = prepare(models, kind)
        alone = {text: session.predict([text])[0] for text in texts}
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda text, s=session: s.predict([text])[0], texts * 4))
        assert_alike(together, [alone[text] for text in texts * 4])


def test_stages_are_timed(models: Models, texts: tuple[str, ...]) -> None:
    stages = StageSeconds()

    prepare(models, "classifier").predict(texts, stages)

    times = (*stages.encode_s, *stages.forward_s, *stages.decode_s)
    assert len(times) == 3
    assert min(times) > 0


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("classifier", {"precision": "int4"}, "does not compute in int4; expected one of float32"),
        ("classifier", {"precision": "int8-static"}, "ranges from texts; give calibration_texts"),
        (
            "causal",
            {"precision": "int8-static", "calibration_texts": ("a",)},
            "writes its own; use precision=int8",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    models: Models, kind: str, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RefusedError, match=reason):
        prepare(models, kind, **options)


def test_a_model_in_another_type_is_refused() -> None:
    model = load_model("preset:bert-tiny", dtype="bfloat16")

    with pytest.raises(RefusedError, match=r"in bfloat16; load it with dtype=float32"):
        OnnxRuntimeEngine().prepare(model, EngineOptions())


def test_a_model_with_states_of_its_own_is_refused() -> None:
    model = load_model("preset:mm-rec-1m-char")

    with pytest.raises(RefusedError, match=r"does not keep keys and values alone"):
        OnnxRuntimeEngine().prepare(model, EngineOptions())


def test_code_that_cannot_be_traced_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model = load_model("preset:bert-tiny")
    forward = model.model.bert.pooler.forward

    def looped(hidden: torch.Tensor) -> torch.Tensor:
        """Depend on a text's values in Python: the trace keeps one answer."""
        return forward(hidden) * float(hidden[0, 0, 0] * 1e3)

    monkeypatch.setattr(model.model.bert.pooler, "forward", looped)
    with pytest.raises(
        RefusedError, match=r"bert-tiny \(BertForSequenceClassification\) cannot be exported"
    ):
        OnnxRuntimeEngine().build(model, EngineOptions(), tmp_path)


def test_a_text_without_a_mask_is_refused(models: Models) -> None:
    with pytest.raises(WorkloadError, match=r"fills masks, and a text has no \[MASK\]"):
        prepare(models, "masked").predict(["a [MASK] text", "a text"])


def test_damaged_files_are_named(models: Models, tmp_path: Path) -> None:
    engine, model = OnnxRuntimeEngine(), models["classifier"]
    with pytest.raises(UsageError, match=r"graph.json does not describe an exported model"):
        engine.open(tmp_path, model, EngineOptions())
    (tmp_path / "graph.json").write_text('{"inputs": [], "notes": []}')
    (tmp_path / "model.onnx").write_bytes(b"no model")

    with pytest.raises(UsageError, match=r"model.onnx cannot be read .* make the folder again"):
        engine.open(tmp_path, model, EngineOptions())


RUNNING_OUT = """
import resource, sys
from pathlib import Path
from ivme.engines.onnxruntime_engine import OnnxRuntimeEngine
from ivme.engines.protocol import EngineOptions
from ivme.errors import OutOfMemoryError
from ivme.models.interface import ModelInterface
model = ModelInterface.load(Path(sys.argv[1]), tokenizer="file")
session = OnnxRuntimeEngine().open(Path(sys.argv[2]), model, EngineOptions())
session.predict(["a text"])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))
try:
    session.predict(["word " * 600] * 200)
except OutOfMemoryError as error:
    print(error)
"""


def test_running_out_of_memory_has_its_own_error(models: Models, tmp_path: Path) -> None:
    model = models["classifier"]
    ModelInterface.of(model).save(tmp_path)
    artefact = cached_artefact(OnnxRuntimeEngine(), model, EngineOptions())
    command = [sys.executable, "-c", RUNNING_OUT, str(tmp_path), str(artefact)]

    run = subprocess.run(command, capture_output=True, text=True, check=False)

    assert run.stderr == ""
    assert run.stdout.startswith("preset:bert-tiny ran out of memory on cpu with batches of 200")


def test_other_errors_keep_their_own_name(models: Models) -> None:
    with (
        pytest.raises(ValueError, match="as it is"),
        onnxruntime_calls.memory_errors_named(models["classifier"], 1),
    ):
        raise ValueError("as it is")
    with (
        pytest.raises(OutOfMemoryError),
        onnxruntime_calls.memory_errors_named(models["classifier"], 1),
    ):
        raise MemoryError


def test_the_engine_keeps_files() -> None:
    assert isinstance(OnnxRuntimeEngine(), ArtefactEngine)
