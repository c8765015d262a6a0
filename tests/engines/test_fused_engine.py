"""The fused engine's kernels against PyTorch and NumPy, on every instruction set that runs here."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import save_file

from ivme import _encoder
from ivme.engines import fused_session
from ivme.engines.fused_engine import FusedEngine
from ivme.engines.fused_session import MOST_ROWS, PORTABLE, FusedSession
from ivme.engines.fused_weights import (
    ARRAYS_FILE,
    SHAPE_FILE,
    as_bfloat16,
    map_arrays,
    quantize,
    write_weights,
)
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.errors import RefusedError, UsageError
from ivme.hardware.products.fused import paths
from ivme.hardware.products.panels import in_panels
from ivme.hardware.products.product import integer_operands
from ivme.models.interface import ModelInterface
from ivme.models.loading import LoadedModel, load_model
from ivme.models.pooling import Pooling
from ivme.models.presets import preset_folder

SETS = _encoder.instruction_sets()
needs_kernels = pytest.mark.skipif(not SETS, reason="needs AVX-512 with VNNI")

WORDS = ("the", "list", "returns", "value", "of", "an", "error", "while", "iterator", "stops")
SIZES = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 192}
SMALL = {"num_hidden_layers": 3, "vocab_size": 30522, "num_labels": 3, "initializer_range": 0.15}


def text_of(words: int, first: int = 0) -> str:
    return " ".join(WORDS[(first + i * i) % len(WORDS)] for i in range(words))


TEXTS = [text_of(words, words) for words in (1, 3, 14, 15, 16, 31, 40, 70, 120)]


def make_model(folder: Path, config: transformers.PretrainedConfig, name: str) -> LoadedModel:
    """Save a network with random weights and small biases, and load it as a user would."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = getattr(transformers, name)(config)
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.2 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(preset_folder("bert-tiny"))
    tokenizer.save_pretrained(folder)
    return load_model(str(folder))


def bert(**changes: object) -> transformers.BertConfig:
    return transformers.BertConfig(**{**SIZES, **SMALL, **changes})


def roberta() -> transformers.RobertaConfig:
    return transformers.RobertaConfig(
        **SIZES, **SMALL, pad_token_id=1, max_position_embeddings=514, type_vocab_size=1
    )


def distilbert() -> transformers.DistilBertConfig:
    return transformers.DistilBertConfig(
        dim=128, n_heads=4, hidden_dim=192, n_layers=3, vocab_size=30522, num_labels=3,
        initializer_range=0.15,
    )  # fmt: skip


FAMILIES: dict[str, tuple[Callable[[], transformers.PretrainedConfig], str]] = {
    "bert": (bert, "BertForSequenceClassification"),
    "heads of 16": (lambda: bert(num_attention_heads=8), "BertForSequenceClassification"),
    "roberta": (roberta, "RobertaForSequenceClassification"),
    "distilbert": (distilbert, "DistilBertForSequenceClassification"),
}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    made: dict[str, LoadedModel] = {}

    def make(name: str) -> LoadedModel:
        if name not in made:
            config, network = FAMILIES[name]
            made[name] = make_model(tmp_path_factory.mktemp("family"), config(), network)
        return made[name]

    return make


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load_model("preset:bert-tiny")


@pytest.fixture(scope="module")
def folder(tiny: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefact")
    write_weights(tiny, folder)
    return folder


def session_on(
    model: LoadedModel, folder: Path, instruction_set: str = "", **options: int
) -> FusedSession:
    if not (folder / SHAPE_FILE).exists():
        write_weights(model, folder)
    return FusedSession(folder, model, EngineOptions(**options), instruction_set=instruction_set)


def encoder_in(folder: Path) -> _encoder.Encoder:
    shape = json.loads((folder / SHAPE_FILE).read_text())
    shape["head"] = [tuple(layer) for layer in shape["head"]]
    return _encoder.Encoder(**map_arrays(folder), **shape)


def logits(model: LoadedModel, texts: list[str]) -> np.ndarray:
    rows = []
    for text in texts:
        inputs = model.tokenizer([text], return_tensors="pt")
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            rows.append(model.model(**inputs).logits[0].numpy())
    return np.array(rows)


def scores(session: FusedSession, texts: list[str]) -> np.ndarray:
    """Return what probabilities came from, but for what all labels have in common."""
    found = np.log([one.probabilities for one in session.predict(texts)])
    return found - found.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("rows", [32, 96])
def test_products_are_exact(instruction_set: str, rows: int) -> None:
    generator = np.random.default_rng(0)
    left = generator.integers(0, 256, (rows, 128), dtype=np.uint8)
    right = generator.integers(-127, 128, (64, 128), dtype=np.int8)
    sums = np.empty((rows, 64), np.int32)
    for threads in (1, 2, 5):
        sums[:] = -1
        _encoder.multiply(left, in_panels(right), sums, threads, instruction_set)
        np.testing.assert_array_equal(sums, left.astype(np.int32) @ right.T.astype(np.int32))


def test_words_are_rounded_as_pytorch_rounds_them() -> None:
    values = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
    theirs = torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()
    np.testing.assert_array_equal(as_bfloat16(values), theirs)


@needs_kernels
def test_the_ceiling_times_the_exact_product() -> None:
    product = paths()[0].prepare(64, 2)
    product.run()
    left, right = integer_operands(64, "uint8")
    np.testing.assert_array_equal(product.result(), left.astype("int32") @ right.astype("int32"))
    with pytest.raises(RefusedError, match="multiples of 64, not 80"):
        paths()[0].prepare(80, 1)


def test_weights_are_rounded_to_the_nearest_of_255_steps() -> None:
    weight = np.random.default_rng(0).normal(size=(32, 64)).astype(np.float32)
    weight[3] = 0
    quantized, scales = quantize(weight)
    assert np.abs(quantized).max(axis=1).tolist() == [127] * 3 + [0] + [127] * 28
    assert (np.abs(quantized * scales[:, None] - weight) <= scales[:, None] / 2 + 1e-7).all()


@pytest.mark.parametrize("instruction_set", [*SETS, PORTABLE])
@pytest.mark.parametrize("name", FAMILIES)
def test_answers_are_those_of_pytorch_but_for_rounding(
    family: Callable[[str], LoadedModel], tmp_path: Path, name: str, instruction_set: str
) -> None:
    model = family(name)
    session = session_on(model, tmp_path, instruction_set)
    theirs = logits(model, TEXTS)
    theirs -= theirs.mean(axis=1, keepdims=True)
    spread = theirs.std()
    assert spread > 0.3, "the texts must differ for this to say anything"
    difference = np.abs(scores(session, TEXTS) - theirs)
    assert difference.max() < 0.2 * spread
    assert np.sqrt((difference**2).mean()) < 0.05 * spread


@pytest.mark.parametrize("instruction_set", ["", PORTABLE])
@pytest.mark.parametrize("mode", ["mean", "first", "last"])
@pytest.mark.parametrize("is_normalized", [True, False])
def test_vectors_are_pooled_as_pytorch_pools_them(
    tmp_path: Path, mode: str, is_normalized: bool, instruction_set: str
) -> None:
    model = load_model("preset:bert-tiny", kind="embedding")
    model = replace(model, pooling=Pooling(mode=mode, is_normalized=is_normalized))
    theirs = get_engine("transformers").prepare(model, EngineOptions())
    ours = session_on(model, tmp_path, instruction_set)
    for one, other in zip(ours.predict(TEXTS), theirs.predict(TEXTS), strict=True):
        size = np.linalg.norm(other.vector)
        assert np.linalg.norm(one.vector - other.vector) < 0.03 * size
        assert np.linalg.norm(one.vector) == pytest.approx(size, rel=0.02)


@pytest.mark.parametrize("instruction_set", SETS)
def test_an_answer_depends_on_its_text_alone(
    tiny: LoadedModel, folder: Path, instruction_set: str
) -> None:
    session = session_on(tiny, folder, instruction_set)
    many = TEXTS * (1 + 2 * MOST_ROWS // sum(session.count_tokens(TEXTS)))
    together = [one.probabilities for one in session.predict(many)]
    for number, text in enumerate(TEXTS):
        alone = session.predict([text])[0].probabilities
        for other in together[number :: len(TEXTS)]:
            np.testing.assert_array_equal(other, alone)


def test_the_number_of_threads_changes_nothing(
    family: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    model = family("bert")
    texts = [text_of(500), *TEXTS]  # enough work for threads of their own
    one = session_on(model, tmp_path).predict(texts)
    for threads in (2, 3, 16):
        many = session_on(model, tmp_path, threads=threads).predict(texts)
        for ours, theirs in zip(many, one, strict=True):
            np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)


def test_padding_on_the_left_changes_nothing(tiny: LoadedModel, folder: Path) -> None:
    before = session_on(tiny, folder).predict(TEXTS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        preset_folder("bert-tiny"), padding_side="left"
    )
    after = session_on(replace(tiny, tokenizer=tokenizer), folder).predict(TEXTS)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


@needs_kernels
def test_second_segments_have_their_own_type(tiny: LoadedModel, folder: Path) -> None:
    encoder = encoder_in(folder)
    inputs = tiny.tokenizer("the value", "of a list", return_tensors="np")
    ids, types = (inputs[name][0].astype(np.int64) for name in ("input_ids", "token_type_ids"))
    assert types.max() == 1
    found = {}
    for name, given in (("own", types), ("zeros", 0 * types), ("none", None)):
        found[name] = np.empty((1, encoder.columns), np.float32)
        encoder.encode(np.array([0, len(ids)]), ids, given, found[name], 1)
    np.testing.assert_array_equal(found["zeros"], found["none"])
    assert np.abs(found["own"] - found["zeros"]).max() > 1e-4
    with torch.inference_mode():
        theirs = tiny.model(**tiny.tokenizer("the value", "of a list", return_tensors="pt")).logits
    np.testing.assert_allclose(found["own"], theirs.numpy(), atol=0.02)


def test_the_longest_text_fits_and_longer_ones_are_cut(tiny: LoadedModel, folder: Path) -> None:
    session = session_on(tiny, folder)
    longest, longer = text_of(tiny.max_length), text_of(2 * tiny.max_length)
    assert session.count_tokens([longer]) == [tiny.max_length]
    one, other = session.predict([longest, longer])
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    short = session_on(tiny, folder, max_length=8)
    np.testing.assert_array_equal(
        short.predict([text_of(6)])[0].probabilities, short.predict([text_of(9)])[0].probabilities
    )


def test_threads_may_share_a_session(tiny: LoadedModel, folder: Path) -> None:
    session = session_on(tiny, folder, threads=2)
    expected = [session.predict([text])[0].probabilities for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: session.predict([text])[0], TEXTS * 20))
    for number, one in enumerate(found):
        np.testing.assert_array_equal(one.probabilities, expected[number % len(TEXTS)])


def test_weights_that_are_no_numbers_give_answers_that_are_none(
    tiny: LoadedModel, tmp_path: Path
) -> None:
    network = type(tiny.model)(tiny.model.config)
    network.load_state_dict(tiny.model.state_dict())
    network.bert.embeddings.word_embeddings.weight.data[:] = float("nan")
    broken = replace(tiny, model=network.eval())
    session = session_on(broken, tmp_path)
    assert not np.isfinite(session.predict(["a text"])[0].probabilities).all()
    healthy = tmp_path / "healthy"
    healthy.mkdir()
    assert np.isfinite(session_on(tiny, healthy).predict(TEXTS)[0].probabilities).all()


SCRIPT = """
import sys
from pathlib import Path
from ivme.engines.fused_engine import FusedEngine
from ivme.engines.protocol import EngineOptions
from ivme.models.interface import ModelInterface

folder = Path(sys.argv[1])
model = ModelInterface.load(folder, tokenizer="file")
session = FusedEngine().open(folder / "artefact", model, EngineOptions())
print(session.predict(["a text"])[0].label)
print([name for name in ("torch", "transformers", "openvino") if name in sys.modules])
"""


def test_the_files_answer_in_a_process_without_pytorch(tiny: LoadedModel, tmp_path: Path) -> None:
    ModelInterface.of(tiny).save(tmp_path)
    (tmp_path / "artefact").mkdir()
    session = session_on(tiny, tmp_path / "artefact")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [session.predict(["a text"])[0].label, "[]"]


@needs_kernels
def test_a_second_session_builds_nothing(tiny: LoadedModel, monkeypatch: object) -> None:
    engine = FusedEngine()
    engine.prepare(tiny, EngineOptions())
    monkeypatch.setattr(FusedEngine, "build", lambda *_: pytest.fail("built again"))
    assert engine.prepare(tiny, EngineOptions(threads=2)).predict(["a text"])[0].label


def refusals(tmp_path: Path) -> Iterator[tuple[LoadedModel, str]]:
    name = "BertForSequenceClassification"
    yield make_model(tmp_path / "a", bert(hidden_act="relu"), name), "hidden_act=relu; engine"
    yield make_model(tmp_path / "b", bert(intermediate_size=200), name), "inner width of 200"
    yield make_model(tmp_path / "c", bert(num_attention_heads=16), name), "16 heads of 8"
    yield load_model("preset:gpt2-tiny"), r"is a GPT2LMHeadModel \(causal\); use engine=openvino"
    yield load_model("preset:bert-tiny", dtype="bfloat16"), "load it with dtype=float32"


@needs_kernels
def test_what_the_kernels_do_not_compute_is_refused(tmp_path: Path) -> None:
    for model, reason in refusals(tmp_path):
        with pytest.raises(RefusedError, match=reason):
            FusedEngine().prepare(model, EngineOptions())


@needs_kernels
def test_a_precision_that_there_is_not_is_refused(tiny: LoadedModel) -> None:
    with pytest.raises(RefusedError, match="does not compute in 'float32'; expected one of int8"):
        FusedEngine().prepare(tiny, EngineOptions(precision="float32"))


def test_a_processor_without_the_instructions_is_refused_for_new_plans_alone(
    tiny: LoadedModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_encoder, "instruction_sets", lambda: [])
    monkeypatch.setattr(fused_session, "instruction_sets", lambda: [])
    assert "needs AVX-512 with VNNI" in FusedEngine().refusal(tiny)
    with pytest.raises(RefusedError, match="use engine=openvino"):
        FusedEngine().prepare(tiny, EngineOptions())
    session = FusedEngine().open(folder, tiny, EngineOptions())
    assert "NumPy computes" in session.notes[0]
    assert session.predict(["a text"])[0].label


def rewrite(folder: Path, **changes: np.ndarray) -> None:
    arrays = {name: np.array(array) for name, array in map_arrays(folder).items()}
    save_file({**arrays, **changes}, folder / ARRAYS_FILE)


def shorten(folder: Path) -> None:
    rewrite(folder, weights=map_arrays(folder)["weights"][:-1].copy())


def lengthen(folder: Path) -> None:
    rewrite(folder, floats=np.append(map_arrays(folder)["floats"], np.float32(0)))


def truncate(folder: Path) -> None:
    content = (folder / ARRAYS_FILE).read_bytes()
    (folder / ARRAYS_FILE).write_bytes(content[: len(content) // 2])


def narrow(folder: Path) -> None:
    shape = json.loads((folder / SHAPE_FILE).read_text())
    (folder / SHAPE_FILE).write_text(json.dumps({**shape, "width": 100}))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "weights holds too few values": shorten,
    "floats holds too many values": lengthen,
    "words must be": lambda folder: rewrite(folder, words=np.zeros((9, 64), np.uint16)),
    "mmap length": truncate,
    "weights in encoder.safetensors is not of type I8": lambda folder: rewrite(
        folder, weights=np.zeros(4, np.float32)
    ),
    "is cut off or no safetensors": lambda folder: (folder / ARRAYS_FILE).write_bytes(b"\xff" * 99),
    "multiples of 64": narrow,
    "No such file": lambda folder: (folder / SHAPE_FILE).unlink(),
}


@pytest.mark.parametrize("said", DAMAGES)
def test_damaged_files_are_named(
    tiny: LoadedModel, folder: Path, tmp_path: Path, said: str
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    DAMAGES[said](tmp_path)
    with pytest.raises(UsageError, match=f"no artefact of engine=fused .*{said}"):
        FusedEngine().open(tmp_path, tiny, EngineOptions())


@needs_kernels
@pytest.mark.parametrize(
    ("starts", "ids", "said"),
    [
        ([0, 2], [5, 10**6], "ids: 1000000 is not below"),
        ([0, 2], [5, -1], "ids: -1 is not below"),
        ([0, 3], [5, 6], "starts: must begin with 0 and end with the number of ids"),
        ([1, 2], [5, 6], "starts: must begin with 0"),
        ([0, 2, 1, 2], [5, 6], "a text must have 1 to"),
        ([0, 0, 2], [5, 6], "not 0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    folder: Path, starts: list[int], ids: list[int], said: str
) -> None:
    encoder = encoder_in(folder)
    answers = np.empty((len(starts) - 1, encoder.columns), np.float32)
    with pytest.raises(ValueError, match=said):
        encoder.encode(np.array(starts), np.array(ids), None, answers, 1)
    with pytest.raises(ValueError, match="answers: must be"):
        encoder.encode(np.array([0, 1]), np.array([1]), None, answers[:, :1].copy(), 1)


@needs_kernels
def test_an_instruction_set_that_does_not_run_is_named(folder: Path, tiny: LoadedModel) -> None:
    with pytest.raises(ValueError, match="'sse9' does not run here; this processor has"):
        session_on(tiny, folder, "sse9")


def test_a_closed_session_says_so(tiny: LoadedModel, folder: Path) -> None:
    session = session_on(tiny, folder)
    session.close()
    with pytest.raises(UsageError, match="closed before this call"):
        session.predict(["a text"])
