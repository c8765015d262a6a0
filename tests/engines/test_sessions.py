"""What every engine owes its callers, on every kind of model that it runs."""

from collections.abc import Sequence

import numpy as np
import pytest

from ivme.engines.batching import Batching, predict_all
from ivme.engines.protocol import EngineOptions, Prediction, Session
from ivme.engines.registry import get_engine
from ivme.errors import OutOfMemoryError, UsageError, WorkloadError
from ivme.models.loading import LoadedModel, load_model
from ivme.models.synthetic import put_mask_in

KINDS = ("classifier", "masked", "causal", "seq2seq", "embedding")
BOTH = ("transformers", "pipeline")
CASES = [(engine, kind) for engine in BOTH for kind in KINDS]
CASES.remove(("pipeline", "seq2seq"))
# float32 sums in another order when shapes change; far below what tells two texts apart
TOLERANCE = 1e-5

Models = dict[str, LoadedModel]


def prepare(models: Models, kind: str, engine: str, **options: int) -> Session:
    settings = EngineOptions(**{"threads": 1, "new_tokens": 5, **options})
    return get_engine(engine).prepare(models[kind], settings)


def for_kind(texts: Sequence[str], models: Models, kind: str) -> tuple[str, ...]:
    """Return the texts with masks if the kind fills them."""
    if kind != "masked":
        return tuple(texts)
    return put_mask_in(texts, models[kind].tokenizer.mask_token)


def assert_same(ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.label, one.text) == (other.label, other.text)
        for field in ("probabilities", "vector"):
            left, right = getattr(one, field), getattr(other, field)
            assert (left is None) == (right is None)
            if left is not None:
                assert left.dtype == np.float32
                np.testing.assert_allclose(left, right, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "seq2seq"])
def test_the_two_engines_agree(models: Models, texts: tuple[str, ...], kind: str) -> None:
    given = for_kind(texts, models, kind)

    assert_same(
        prepare(models, kind, "transformers").predict(given),
        prepare(models, kind, "pipeline").predict(given),
    )


@pytest.mark.parametrize(("engine", "kind"), CASES)
def test_batches_answer_as_single_texts_do(
    models: Models, texts: tuple[str, ...], engine: str, kind: str
) -> None:
    session = prepare(models, kind, engine)
    given = for_kind(texts, models, kind)
    one_by_one = [session.predict([text])[0] for text in given]

    for order in ("given", "sorted"):
        assert_same(predict_all(session, given, Batching(batch_size=2, order=order)), one_by_one)


@pytest.mark.parametrize(("engine", "kind"), CASES)
def test_padding_further_does_not_change_the_answers(
    models: Models, texts: tuple[str, ...], engine: str, kind: str
) -> None:
    given = for_kind(texts, models, kind)

    assert_same(
        prepare(models, kind, engine, pad_to=64).predict(given),
        prepare(models, kind, engine).predict(given),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_different_texts_get_different_answers(
    models: Models, texts: tuple[str, ...], kind: str
) -> None:
    """Else agreement between engines would say nothing."""
    predictions = prepare(models, kind, "transformers").predict(for_kind(texts, models, kind))

    if kind in ("causal", "seq2seq", "masked"):
        assert len({prediction.text for prediction in predictions}) > 1
        return
    field = "probabilities" if kind == "classifier" else "vector"
    rows = np.array([getattr(prediction, field) for prediction in predictions])
    assert np.ptp(rows, axis=0).max() > 10 * TOLERANCE


def test_probabilities_sum_to_one_and_the_label_is_the_likeliest(
    models: Models, texts: tuple[str, ...]
) -> None:
    for prediction in prepare(models, "classifier", "transformers").predict(texts):
        assert prediction.probabilities is not None
        assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-6)
        best = models["classifier"].labels[prediction.probabilities.argmax()]
        assert prediction.label == best


@pytest.mark.parametrize(("engine", "kind"), CASES)
def test_long_texts_are_cut_to_the_limit(models: Models, engine: str, kind: str) -> None:
    session = prepare(models, kind, engine, max_length=16)
    long = for_kind(["Return the value. " * 400], models, kind)

    assert session.count_tokens(long) == [16]
    assert len(session.predict(long)) == 1


@pytest.mark.parametrize("engine", BOTH)
def test_a_prompt_leaves_room_for_the_new_tokens(models: Models, engine: str) -> None:
    session = prepare(models, "causal", engine, new_tokens=20)
    long = ["Return the value. " * 1000]

    assert session.count_tokens(long) == [1024 - 20]
    assert len(session.predict(long)) == 1


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_exactly_the_new_tokens_asked_for_are_generated(
    models: Models, texts: tuple[str, ...], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end token that is likely from the first step on must not end a text early."""
    import torch

    network = models[kind].model
    shapes = []
    generate = network.generate

    def watched(**arguments: object) -> torch.Tensor:
        output = generate(**arguments)
        given = 1 if kind == "seq2seq" else arguments["input_ids"].shape[1]
        shapes.append(output.shape[1] - given)
        return output

    likely = int(network(**_first_inputs(models[kind])).logits[0, -1].argmax())
    monkeypatch.setattr(network.generation_config, "eos_token_id", likely)
    monkeypatch.setattr(network, "generate", watched, raising=False)
    prepare(models, kind, "transformers", new_tokens=7).predict(texts)

    assert shapes == [7]


def _first_inputs(model: LoadedModel) -> dict[str, object]:
    inputs = dict(model.tokenizer("Raise an error.", return_tensors="pt"))
    if model.kind == "seq2seq":
        inputs["decoder_input_ids"] = inputs["input_ids"][:, :1] * 0
    return inputs


def test_stages_are_timed_and_make_up_the_call(models: Models, texts: tuple[str, ...]) -> None:
    from ivme.engines.protocol import StageSeconds
    from ivme.engines.transformers_engine import TransformersEngine

    class Ticks:
        seconds = iter((0.0, 1.0, 11.0, 111.0))

        def now(self) -> float:
            return next(self.seconds)

        def time(self, run: object) -> float:
            raise AssertionError("stages are read from now()")

    stages = StageSeconds()
    session = TransformersEngine().prepare(models["classifier"], EngineOptions(), clock=Ticks())
    session.predict(texts, stages)

    assert (stages.encode_s, stages.forward_s, stages.decode_s) == ([1.0], [10.0], [100.0])


@pytest.mark.parametrize("engine", BOTH)
def test_each_call_runs_on_the_sessions_own_threads(models: Models, engine: str) -> None:
    import torch

    from ivme.hardware.threads import torch_threads

    one = prepare(models, "classifier", engine, threads=1)
    two = prepare(models, "classifier", engine, threads=2)
    with torch_threads(1):
        two.predict(["a text"])
        assert torch.get_num_threads() == 2
        one.predict(["a text"])
        assert torch.get_num_threads() == 1


@pytest.mark.parametrize("engine", BOTH)
def test_a_text_without_a_mask_is_refused(models: Models, engine: str) -> None:
    session = prepare(models, "masked", engine)

    with pytest.raises(WorkloadError, match=r"fills masks, and a text has no \[MASK\]"):
        session.predict(["a [MASK] text", "a text"])


@pytest.mark.parametrize("engine", BOTH)
def test_an_empty_prompt_is_refused(models: Models, engine: str) -> None:
    with pytest.raises(WorkloadError, match="an empty text gives preset:gpt2-tiny no token"):
        prepare(models, "causal", engine).predict(["a text", ""])


@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize("error", ["torch", "allocator"])
def test_running_out_of_memory_has_its_own_error(
    models: Models, engine: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def forward(*_: object, **__: object) -> None:
        if error == "torch":
            raise torch.OutOfMemoryError("CUDA out of memory")
        torch.empty(1 << 60)

    session = prepare(models, "embedding", engine)
    monkeypatch.setattr(models["embedding"].model, "forward", forward)
    with pytest.raises(OutOfMemoryError, match="ran out of memory on cpu with batches of 2"):
        session.predict(["a text", "another"])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("classifier", {"max_length": 513}, "max_length=513; expected 1 to 512 tokens"),
        ("classifier", {"pad_to": 0}, "pad_to=0; expected 1 to 512 tokens"),
        ("causal", {"pad_to": 1020, "new_tokens": 8}, "1 to 1016 tokens.* less 8 new ones"),
        ("causal", {"new_tokens": 1024}, "new_tokens=1024 leaves no room for a text"),
    ],
)
def test_limits_beyond_the_models_are_refused(
    models: Models, kind: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(models, kind, "transformers", **options)


def test_half_precision_answers_in_float32_close_to_full(texts: tuple[str, ...]) -> None:
    full, half = (
        prepare({kind: load_model("preset:bert-tiny", dtype=dtype)}, kind, "transformers")
        for kind, dtype in (("classifier", "float32"), ("classifier", "bfloat16"))
    )
    for ours, theirs in zip(full.predict(texts), half.predict(texts), strict=True):
        assert theirs.probabilities.dtype == np.float32
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=2e-2)
