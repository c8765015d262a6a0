import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from ivme.engines.answers import classify, reason_for_no_answer
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import ENGINES, get_engine
from ivme.errors import RefusedError
from ivme.models.loading import LoadedModel


def with_problem(model: LoadedModel, problem: str | None, labels: tuple[str, ...]) -> LoadedModel:
    config = SimpleNamespace(problem_type=problem)
    return dataclasses.replace(model, model=SimpleNamespace(config=config), labels=labels)


def test_large_logits_do_not_overflow(models: dict[str, LoadedModel]) -> None:
    [prediction] = classify(models["classifier"], np.array([[1000.0, 0.0]], dtype=np.float32))

    assert prediction.probabilities.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("problem", "labels"), [("multi_label_classification", ("a", "b")), (None, ("a",))]
)
def test_labels_of_their_own_get_probabilities_of_their_own(
    models: dict[str, LoadedModel], problem: str | None, labels: tuple[str, ...]
) -> None:
    model = with_problem(models["classifier"], problem, labels)
    logits = np.zeros((1, len(labels)), dtype=np.float32)

    assert classify(model, logits)[0].probabilities.tolist() == [0.5] * len(labels)


@pytest.mark.parametrize("engine", ENGINES)
def test_regression_is_refused(models: dict[str, LoadedModel], engine: str) -> None:
    model = with_problem(models["classifier"], "regression", ("a",))

    with pytest.raises(RefusedError, match=r"predicts a number \(regression\), not a label"):
        get_engine(engine).prepare(model, EngineOptions())


def test_a_masked_model_without_a_mask_token_is_refused(models: dict[str, LoadedModel]) -> None:
    model = dataclasses.replace(models["masked"], tokenizer=SimpleNamespace(mask_token_id=None))

    assert "has no mask token" in str(reason_for_no_answer(model))
