"""What the OpenVINO engine owes its callers beside the protocol; PyTorch answers truly."""

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ivme.engines import openvino_runtime
from ivme.engines.artefacts import cached_artefact
from ivme.engines.openvino_encoder import OpenVinoEncoderSession
from ivme.engines.openvino_engine import OpenVinoEngine
from ivme.engines.openvino_runtime import has_bfloat16
from ivme.engines.protocol import EngineOptions, Prediction, Session
from ivme.engines.registry import get_engine
from ivme.errors import OutOfMemoryError, RefusedError, UsageError, WorkloadError
from ivme.measure.memory_guard import memory_guard
from ivme.models.interface import ModelInterface
from ivme.models.loading import LoadedModel, load_model
from ivme.models.pooling import Pooling
from ivme.models.synthetic import put_mask_in

KINDS = ("classifier", "masked", "causal", "seq2seq", "embedding")
TOLERANCE = 1e-4  # float32 sums in another order, through all layers
# Random weights leave probabilities near one half, and vectors of length 11: what rounding to 8
# bits costs of them. Far below what tells two texts apart.
LOOSE = {"probabilities": 1e-2, "vector": 0.15}

Models = dict[str, LoadedModel]

needs_bfloat16 = pytest.mark.skipif(
    not has_bfloat16(), reason="this processor has no instructions for bfloat16"
)


def prepare(model: LoadedModel, **options: object) -> Session:
    settings = {"threads": 1, "new_tokens": 6, **options}
    return get_engine("openvino").prepare(model, EngineOptions(**settings))  # type: ignore[arg-type]


def expected(model: LoadedModel, texts: Sequence[str]) -> list[Prediction]:
    options = EngineOptions(threads=1, new_tokens=6)
    return get_engine("transformers").prepare(model, options).predict(texts)


def for_kind(model: LoadedModel, texts: Sequence[str]) -> tuple[str, ...]:
    if model.kind != "masked":
        return tuple(texts)
    return put_mask_in(texts, model.tokenizer.mask_token)


def largest_difference(ours: Sequence[Prediction], theirs: Sequence[Prediction], field: str):
    pairs = zip(ours, theirs, strict=True)
    return max(abs(getattr(one, field) - getattr(other, field)).max() for one, other in pairs)


def run_fresh(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    import os

    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )


@pytest.mark.parametrize("kind", KINDS)
def test_in_float32_it_answers_as_pytorch_does_one_by_one_and_in_batches(
    models: Models, texts: tuple[str, ...], kind: str
) -> None:
    model = models[kind]
    given = for_kind(model, texts)
    theirs = expected(model, given)
    session = prepare(model, precision="float32")

    for ours in (session.predict(given), [session.predict([text])[0] for text in given]):
        assert [one.label for one in ours] == [one.label for one in theirs]
        assert [one.text for one in ours] == [one.text for one in theirs]
        for field in ("probabilities", "vector"):
            if getattr(theirs[0], field) is not None:
                assert largest_difference(ours, theirs, field) < TOLERANCE
                assert getattr(ours[0], field).dtype == np.float32


@pytest.mark.parametrize("mode", ["first", "last"])
def test_vectors_of_one_token_are_pytorchs_too(
    models: Models, texts: tuple[str, ...], mode: str, tmp_path: Path
) -> None:
    pooling = Pooling(mode=mode, is_normalized=True)
    model = dataclasses.replace(models["embedding"], pooling=pooling)
    OpenVinoEngine().build(model, EngineOptions(), tmp_path)
    session = OpenVinoEngine().open(tmp_path, model, EngineOptions())

    ours = session.predict(texts)
    assert largest_difference(ours, expected(model, texts), "vector") < TOLERANCE


def test_a_single_text_as_long_as_a_bucket_has_a_network_of_its_own(
    models: Models, texts: tuple[str, ...]
) -> None:
    session = prepare(models["classifier"], buckets=(8, 64))
    assert isinstance(session, OpenVinoEncoderSession)
    alone = [session.predict([text])[0] for text in texts]
    together = session.predict(texts)
    shapes = [network.compiled.inputs[0].partial_shape for network in session.shaped.values()]

    truth = expected(models["classifier"], texts)
    assert largest_difference(alone, truth, "probabilities") < TOLERANCE
    assert largest_difference(together, truth, "probabilities") < TOLERANCE
    assert shapes
    assert all(shape.is_static and shape[1].get_length() in (8, 64) for shape in shapes)
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.predict(texts[:1])


@pytest.mark.parametrize("precision", ["int8", "int8-static"])
@pytest.mark.parametrize("kind", ["classifier", "embedding"])
def test_in_8_bits_it_answers_nearly_as_pytorch_does(
    models: Models, texts: tuple[str, ...], kind: str, precision: str
) -> None:
    session = prepare(models[kind], precision=precision, calibration_texts=texts)
    field = "probabilities" if kind == "classifier" else "vector"
    difference = largest_difference(session.predict(texts), expected(models[kind], texts), field)

    assert 0 < difference < LOOSE[field]  # 0 would mean that nothing was quantized
    assert session.precision == precision
    assert "OpenVINO's matrix products:" in session.notes[-1]
    assert " in int8" in session.notes[-1]


@needs_bfloat16
def test_bfloat16_runs_the_files_of_float32_and_says_so(
    models: Models, texts: tuple[str, ...]
) -> None:
    model = models["classifier"]
    prepare(model, precision="float32")
    session = prepare(model, precision="bfloat16")
    difference = largest_difference(session.predict(texts), expected(model, texts), "probabilities")

    assert 0 < difference < LOOSE["probabilities"]
    assert session.notes == ("OpenVINO's matrix products: 14 in bfloat16; the rest in bfloat16",)


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.99), ("int4", 0.95)])
def test_quantized_models_find_the_same_tokens_likely(
    models: Models, texts: tuple[str, ...], precision: str, least: float
) -> None:
    logits = {}
    for name in ("float32", precision):
        session = prepare(models["causal"], precision=name)
        batch = dict(models["causal"].tokenizer(texts[2], return_tensors="np"))
        batch["beam_idx"] = np.zeros(1, dtype=np.int32)
        [logits[name]] = session.decoder.infer(batch)  # type: ignore[attr-defined]
    correlation = np.corrcoef(logits["float32"][0], logits[precision][0])[0, 1]

    assert least < correlation < 1


def test_as_many_tokens_are_generated_as_were_asked_for(
    models: Models, texts: tuple[str, ...]
) -> None:
    """An end token that is the likeliest at every step must not end a text."""
    session = prepare(models["causal"], precision="float32", new_tokens=7)
    [first] = {prediction.text for prediction in session.predict(texts[:1])}
    likeliest = models["causal"].tokenizer(first).input_ids
    session.greedy = dataclasses.replace(session.greedy, end_ids=tuple(likeliest))  # type: ignore[attr-defined]
    batch = models["causal"].tokenizer(texts[:1], return_tensors="np")
    tokens = session.compute({name: array for name, array in batch.items()})  # type: ignore[attr-defined]

    assert tokens.shape == (1, 7)
    assert not set(tokens[0]) & set(likeliest)


def test_a_later_text_knows_nothing_of_an_earlier_one(
    models: Models, texts: tuple[str, ...]
) -> None:
    session = prepare(models["causal"], precision="float32")
    [before] = session.predict(texts[:1])
    session.predict(texts[1:])

    assert session.predict(texts[:1])[0].text == before.text


def test_without_calibration_texts_it_says_what_it_calibrated_on(models: Models) -> None:
    session = prepare(models["classifier"], precision="int8-static")

    assert session.notes[0] == (
        "no calibration texts were given: ranges come from 64 built-in ones"
    )


def test_a_second_session_builds_nothing(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(models["classifier"])

    def build(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(OpenVinoEngine, "build", build)
    assert prepare(models["classifier"]).predict(["a text"])


def test_bfloat16_and_float32_share_one_artefact(models: Models) -> None:
    model = models["classifier"]
    prepare(model)  # builds it
    options = [EngineOptions(precision=precision) for precision in (None, "float32", "bfloat16")]

    assert len({cached_artefact(OpenVinoEngine(), model, one) for one in options}) == 1


def test_building_leaves_the_model_as_it_was(
    models: Models, texts: tuple[str, ...], tmp_path: Path
) -> None:
    model = load_model("preset:t5-tiny")
    network = model.model
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    answers = expected(model, texts)
    forwards = {name: module.forward.__func__ for name, module in network.named_modules()}
    OpenVinoEngine().build(model, EngineOptions(), tmp_path)

    assert not network.training
    assert {name: module.forward.__func__ for name, module in network.named_modules()} == forwards
    assert not any(module._forward_hooks for module in network.modules())
    assert all(before[name].equal(weight) for name, weight in network.state_dict().items())
    assert expected(model, texts) == answers


@pytest.mark.parametrize("kind", ["classifier", "causal"])
def test_threads_may_share_a_session(models: Models, texts: tuple[str, ...], kind: str) -> None:
    session = prepare(models[kind], precision="float32")
    alone = [session.predict([text])[0] for text in texts]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda text: session.predict([text])[0], texts * 3))

    for one, other in zip(together, alone * 3, strict=True):
        assert (one.label, one.text) == (other.label, other.text)
        if kind == "classifier":
            np.testing.assert_array_equal(one.probabilities, other.probabilities)


OPEN_AND_ANSWER = """
import sys
from pathlib import Path
from ivme.engines.openvino_encoder import OpenVinoEncoderSession
from ivme.engines.openvino_engine import OpenVinoEngine
from ivme.engines.protocol import EngineOptions
from ivme.models.interface import ModelInterface
folder = Path(sys.argv[1])
model = ModelInterface.load(folder, tokenizer="file")
session = OpenVinoEngine().open(folder, model, EngineOptions(precision="int8"))
print(session.predict(["A dictionary of values."])[0].label)
print([name for name in ("torch", "nncf", "transformers") if name in sys.modules])
"""


def test_the_files_answer_in_a_process_without_pytorch(models: Models, tmp_path: Path) -> None:
    model = models["classifier"]
    OpenVinoEngine().build(model, EngineOptions(precision="int8"), tmp_path)
    ModelInterface.of(model).save(tmp_path)
    result = run_fresh(f"import sys; sys.argv.append({str(tmp_path)!r})" + OPEN_AND_ANSWER)
    [here] = prepare(model, precision="int8").predict(["A dictionary of values."])

    assert result.stdout.splitlines() == [here.label, "[]"], result.stderr


BUILD = """
import ctypes, sys
from pathlib import Path
from ivme.engines.openvino_encoder import OpenVinoEncoderSession
from ivme.engines.openvino_engine import OpenVinoEngine
from ivme.engines.protocol import EngineOptions
from ivme.models.loading import load_model
def stack():
    held = (ctypes.c_char * 24)()
    ctypes.CDLL(None).sigaltstack(None, held)
    return bytes(held)[:12]
before = stack()
model = load_model("preset:bert-tiny")
options = EngineOptions(precision="int8-static", calibration_texts=("A text.", "Another text."))
session = OpenVinoEngine().prepare(model, options)
session.predict(["A text."])
import openvino_telemetry
assert not openvino_telemetry.Telemetry().consent
assert stack() == before
import signal
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    sys.exit(7)
"""


def test_building_prints_nothing_sends_nothing_and_leaves_ctrl_c_alone(
    models: Models, tmp_path: Path
) -> None:
    """The presets' folder is in the shared cache; only what OpenVINO writes goes home."""
    result = run_fresh(BUILD, HOME=str(tmp_path))

    assert (result.returncode, result.stdout, result.stderr) == (7, "", "")
    assert not (tmp_path / "intel").exists()


@pytest.mark.parametrize(
    ("kind", "precision", "message"),
    [
        ("causal", "int8-static", "preset:gpt2-tiny generates, .*use precision=int8"),
        ("classifier", "int4", "int4 saves memory traffic .*use precision=int8"),
    ],
)
def test_a_precision_that_a_kind_cannot_have_is_refused(
    models: Models, kind: str, precision: str, message: str
) -> None:
    with pytest.raises(RefusedError, match=message):
        prepare(models[kind], precision=precision)


def test_a_precision_that_there_is_not_is_refused(models: Models) -> None:
    with pytest.raises(
        UsageError, match=r"precision='float8'; engine openvino computes in float32"
    ):
        prepare(models["classifier"], precision="float8")


def test_bfloat16_that_would_be_emulated_is_refused(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_runtime, "has_bfloat16", lambda: False)
    with pytest.raises(RefusedError, match="no instructions for bfloat16 and OpenVINO would"):
        prepare(models["classifier"], precision="bfloat16")


def test_models_of_their_own_code_are_refused() -> None:
    with pytest.raises(RefusedError, match=r"MMRecForCausalLM of its own code.*engine=transform"):
        prepare(load_model("preset:mm-rec-1m-char"))


def test_a_model_loaded_in_half_precision_is_refused(models: Models) -> None:
    half = dataclasses.replace(models["classifier"], dtype="bfloat16")
    with pytest.raises(RefusedError, match="load it with dtype=float32 and ask for precision=bfl"):
        prepare(half)


def test_another_precision_than_was_asked_for_is_refused(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    prepare(models["classifier"])
    # As a processor without the instructions answers; which of them are there differs.
    monkeypatch.setattr(openvino_runtime.CompiledNetwork, "_read", lambda *_: openvino.Type.f16)
    with pytest.raises(RefusedError, match=r"was asked for f32 and compiled .*\.xml for f16"):
        prepare(models["classifier"])


def test_a_conversion_that_answers_otherwise_is_refused(
    models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ivme.engines import openvino_export

    monkeypatch.setattr(openvino_export, "SAME", 0.0)
    with pytest.raises(RefusedError, match=r"BertForSequenceClassification.* answers otherwise"):
        OpenVinoEngine().build(models["classifier"], EngineOptions(), tmp_path)


def test_a_folder_of_another_precision_or_none_is_refused(models: Models, tmp_path: Path) -> None:
    model = models["classifier"]
    folder = cached_artefact(OpenVinoEngine(), model, EngineOptions(precision="float32"))

    with pytest.raises(UsageError, match="holds a model in float32, and precision='int8' was"):
        OpenVinoEngine().open(folder, model, EngineOptions(precision="int8"))
    with pytest.raises(UsageError, match=r"holds no OpenVINO artefact .*make it again"):
        OpenVinoEngine().open(tmp_path, model, EngineOptions())


def test_a_damaged_model_is_named(models: Models, tmp_path: Path) -> None:
    OpenVinoEngine().build(models["classifier"], EngineOptions(), tmp_path)
    (tmp_path / "openvino_model.xml").write_text("<net>")

    with pytest.raises(UsageError, match=r"OpenVINO cannot read .*openvino_model.xml: .*make it"):
        OpenVinoEngine().open(tmp_path, models["classifier"], EngineOptions())


def test_running_out_of_memory_has_its_own_error(models: Models) -> None:
    """Without it the answers of the call before would be returned."""
    session = prepare(models["classifier"])
    before = session.predict(["a text"])[0].probabilities
    tokens = {name: np.ones((512, 512), dtype=np.int64) for name in session.network.inputs}  # type: ignore[attr-defined]
    with (
        memory_guard(growth_limit_bytes=2**26),
        pytest.raises(OutOfMemoryError, match="OpenVINO ran out of memory on batches of 512"),
    ):
        session.compute(tokens)  # type: ignore[attr-defined]

    np.testing.assert_array_equal(session.predict(["a text"])[0].probabilities, before)


def test_a_text_without_a_mask_is_refused(models: Models) -> None:
    with pytest.raises(WorkloadError, match=r"fills masks, and a text has no \[MASK\]"):
        prepare(models["masked"]).predict(["a [MASK] text", "a text"])


def test_a_closed_session_says_so(models: Models) -> None:
    session = prepare(models["classifier"])
    session.close()
    with pytest.raises(UsageError, match="the session was closed before this call"):
        session.predict(["a text"])


FIRST_CALLS = """
import os, sys, threading
sys.setswitchinterval(1e-6)
import numpy as np, openvino
from ivme.engines.openvino_runtime import make_type_tables
together = threading.Barrier(8)
def call():
    together.wait()
    make_type_tables()
    openvino.Tensor(np.zeros(1, dtype=np.float32)).data
threads = [threading.Thread(target=call, daemon=True) for _ in range(8)]
[one.start() for one in threads]
[one.join(60) for one in threads]
os._exit(any(one.is_alive() for one in threads))  # a hung one would hold up the end
"""


def test_first_calls_of_several_threads_do_not_wait_for_each_other() -> None:
    result = subprocess.run([sys.executable, "-c", FIRST_CALLS], timeout=600)
    assert result.returncode == 0  # 1: some of them still wait
