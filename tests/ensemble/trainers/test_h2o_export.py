import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from odd_rows import COLUMNS, rows_of
from safetensors.numpy import load_file

from ivme.ensemble.rows import rows_from_dense
from ivme.ensemble.trainers.h2o_description import H2ODescription, H2OTreeArrays
from ivme.ensemble.trainers.h2o_export import compile_h2o
from ivme.errors import UsageError

# Written by record_h2o.py from the answers of H2O 3.46.0.12.
FIXTURES = Path(__file__).parents[1] / "fixtures" / "h2o"
TOLERANCE = 1e-6


@cache
def recorded(label_count: int) -> tuple[dict[str, H2ODescription], dict[str, np.ndarray]]:
    described = json.loads((FIXTURES / f"labels_{label_count}.json").read_text(encoding="utf-8"))
    for one in described.values():
        one["trees"] = [H2OTreeArrays(**tree) for tree in one["trees"]]
    models = {name: H2ODescription(**one) for name, one in described.items()}
    return models, load_file(FIXTURES / f"labels_{label_count}.safetensors")


@pytest.mark.parametrize("name", ["DRF", "GBM", "GLM"])
@pytest.mark.parametrize("label_count", [2, 3])
def test_compiled_members_answer_as_h2o_did(label_count, name):
    models, arrays = recorded(label_count)
    expected, labels = arrays[f"{name}.probabilities"], arrays[f"{name}.labels"]
    member = compile_h2o(models[name], COLUMNS, arrays[f"{name}.means"])
    rows = rows_from_dense(rows_of(arrays["values"])[: len(labels)])
    found = member.probabilities(rows)
    assert np.abs(found[:, 1:] - expected).max() <= TOLERANCE
    top = np.sort(found, axis=1)
    is_clear = (top[:, -1] > top[:, -2]) | (label_count == 2)  # H2O draws lots between equals
    assert np.array_equal(member.decide(found)[is_clear], labels[is_clear])


def test_the_threshold_is_the_one_h2o_labels_by():
    models, arrays = recorded(2)
    thresholds = {name: one.threshold for name, one in models.items()}
    assert all(threshold != 0.5 for threshold in thresholds.values())
    for name, model in models.items():
        chosen = arrays[f"{name}.probabilities"][:, 0] >= thresholds[name]
        assert (chosen == arrays[f"{name}.labels"]).mean() > 0.999  # fp32 may round across it
        assert compile_h2o(model, COLUMNS, np.zeros(8)).threshold == thresholds[name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ["word:other"]}, "reads column 'word:other', which is no feature"),
        ({"categories": ["word:the"]}, "reads column 'word:the', which holds categories"),
        ({"is_balanced": True}, "was trained with balance_classes"),
        ({"has_double_trees": True}, "was trained with binomial_double_trees"),
    ],
)
def test_what_cannot_be_scored_alike_is_refused(changes, message):
    model = replace(recorded(2)[0]["DRF"], **changes)
    with pytest.raises(UsageError, match=message):
        compile_h2o(model, COLUMNS, np.zeros(8))
