"""What the PyTorch engines owe in every precision: answers near float32's, the model untouched."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from ivme.engines.protocol import EngineOptions, Prediction, Session
from ivme.engines.registry import get_engine
from ivme.engines.torch_calls import forward_inputs
from ivme.models.loading import LoadedModel
from ivme.models.synthetic import put_mask_in

# Largest difference over the largest number. bfloat16 keeps 8 bits of each number, int8 7; the
# layers of a tiny model add some of it up.
TOLERANCES = {"float32": 1e-5, "float16": 5e-3, "autocast": 2e-2, "bfloat16": 3e-2, "int8": 6e-2}
KINDS = ("classifier", "masked", "causal", "seq2seq", "embedding")
EAGER = [("transformers", name) for name in ("float32", "bfloat16", "float16", "autocast")]
PACKED = [("prepacked", name) for name in ("float32", "bfloat16", "int8")]

Models = dict[str, LoadedModel]


def prepare(model: LoadedModel, engine: str, precision: str | None) -> Session:
    options = EngineOptions(precision=precision, new_tokens=3)
    return get_engine(engine).prepare(model, options)


def for_kind(texts: Sequence[str], model: LoadedModel) -> tuple[str, ...]:
    if model.kind != "masked":
        return tuple(texts)
    return put_mask_in(texts, model.tokenizer.mask_token)


def numbers(predictions: Sequence[Prediction]) -> np.ndarray:
    """Return the numbers in the answers of a classifier or an embedding model."""
    rows = [one.vector if one.probabilities is None else one.probabilities for one in predictions]
    assert all(row is not None and row.dtype == np.float32 for row in rows)
    return np.array(rows)


def scores(model: LoadedModel, texts: Sequence[str]) -> np.ndarray:
    """Return the scores of tokens that a model puts out when it reads the texts."""
    with torch.inference_mode():
        return model.model(**forward_inputs(model, texts)).logits.float().numpy()


def assert_close(ours: np.ndarray, theirs: np.ndarray, precision: str) -> None:
    largest = np.abs(theirs).max()
    np.testing.assert_allclose(ours / largest, theirs / largest, rtol=0, atol=TOLERANCES[precision])


@pytest.mark.parametrize(("engine", "precision"), EAGER + PACKED)
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_near_those_of_float32(
    models: Models, texts: tuple[str, ...], kind: str, engine: str, precision: str
) -> None:
    model = models[kind]
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    given = for_kind(texts, model)
    session = prepare(model, engine, precision)
    answers = session.predict(given)
    expected = prepare(model, "transformers", None).predict(given)

    assert session.precision == precision
    if kind in ("classifier", "embedding"):
        assert_close(numbers(answers), numbers(expected), precision)
    else:
        if precision != "autocast":  # the network itself is that of float32 then
            assert_close(scores(session.model, given), scores(model, given), precision)
        if precision == "float32":
            assert [one.text for one in answers] == [one.text for one in expected]
        assert all(one.text is not None for one in answers)
    after = model.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "autocast"])
def test_a_lower_precision_is_really_computed_in(
    models: Models, texts: tuple[str, ...], precision: str
) -> None:
    model = models["embedding"]
    ours, full = (
        numbers(prepare(model, "transformers", name).predict(texts))
        for name in (precision, "float32")
    )

    assert np.abs(ours - full).max() > 10 * TOLERANCES["float32"]


def test_without_a_precision_the_loaded_model_itself_runs(models: Models) -> None:
    session = prepare(models["causal"], "transformers", None)

    assert session.model is models["causal"]
    assert session.precision == "float32"


def test_closing_a_session_frees_its_copy_and_leaves_the_model(
    models: Models, texts: tuple[str, ...]
) -> None:
    import gc
    import weakref

    session = prepare(models["classifier"], "transformers", "bfloat16")
    copy = weakref.ref(session.model.model)
    session.close()
    gc.collect()

    assert copy() is None
    assert prepare(models["classifier"], "transformers", None).predict(texts)
