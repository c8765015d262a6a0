import math

import pytest

from ivme.engines.protocol import EngineOptions, ScoringSession
from ivme.engines.registry import get_engine
from ivme.models.loading import LoadedModel

ENGINES = ("transformers", "prepacked", "onnxruntime", "openvino")


def session_of(model: LoadedModel, engine: str, new_tokens: int = 6) -> ScoringSession:
    session = get_engine(engine).prepare(
        model, EngineOptions(new_tokens=new_tokens, precision="float32")
    )
    assert isinstance(session, ScoringSession)
    return session


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_engines_agree_on_how_likely_a_text_is(
    models: dict[str, LoadedModel], texts: tuple[str, ...], engine: str
) -> None:
    ours, theirs = (
        session_of(models["causal"], engine),
        session_of(models["causal"], "transformers"),
    )
    for text in (*texts[:3], "a"):
        assert ours.score(text) == pytest.approx(theirs.score(text), abs=1e-3)


def test_the_score_is_the_models_own_loss(
    models: dict[str, LoadedModel], texts: tuple[str, ...]
) -> None:
    """Over the whole text but its first token, it is what Transformers calls the loss."""
    model = models["causal"]
    ids = model.tokenizer(texts[2], return_tensors="pt")["input_ids"]
    loss = model.model(ids, labels=ids).loss.item()
    score = session_of(model, "transformers", new_tokens=ids.shape[1] + 5).score(texts[2])
    assert -score == pytest.approx(loss, rel=1e-5)
    assert math.exp(loss) > 1


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_said_about_a_single_token(models: dict[str, LoadedModel], engine: str) -> None:
    model = models["causal"]
    word = next(
        word for word in ("a", "the", "I", "x") if len(model.tokenizer(word)["input_ids"]) == 1
    )
    assert session_of(model, engine).score(word) == 0.0
