"""Trains on a real H2O and asks it; test_h2o_export.py holds to its recorded answers elsewhere."""

import importlib.util
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from odd_rows import COLUMNS, rows_of, value_table
from styles import styled_texts

from ivme.ensemble.rows import rows_from_dense
from ivme.ensemble.tabular import TabularMembers
from ivme.ensemble.trainers.h2o_cluster import h2o_cluster
from ivme.ensemble.trainers.h2o_description import describe_h2o
from ivme.ensemble.trainers.h2o_export import compile_h2o
from ivme.ensemble.trainers.settings import MEMBERS, H2OPlace, MemberSettings
from ivme.ensemble.training import TabularSettings, train_tabular
from ivme.errors import UsageError

HAS_H2O = importlib.util.find_spec("h2o") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_H2O, reason="the package h2o is not installed"),
    pytest.mark.skipif(shutil.which("java") is None, reason="H2O runs on Java; no java here"),
]
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of a cluster that runs as long as the tests of this file."""
    with h2o_cluster(H2OPlace(memory_bytes=2**30)) as h2o:
        yield h2o.connection().base_url


@pytest.mark.parametrize(
    ("label_count", "has_missing"), [(2, False), (2, True), (3, False)], ids=str
)
def test_compiled_members_answer_ten_thousand_rows_as_h2o_does(url, label_count, has_missing):
    from h2o_answers import ask, train_members

    with h2o_cluster(H2OPlace(url=url)) as h2o:
        trained = train_members(h2o, label_count, has_missing)
        members = {
            name: compile_h2o(describe_h2o(model), COLUMNS, means)
            for name, (model, means) in trained.items()
        }
        rows = rows_of(value_table(members.values()))
        held, answers = ask(h2o, {name: model for name, (model, _) in trained.items()}, rows)
        for name, answer in answers.items():
            found = members[name].probabilities(rows_from_dense(held))
            assert np.abs(found - answer.probabilities).max() <= TOLERANCE
            top = np.sort(found, axis=1)
            # Between labels as likely as each other, H2O draws lots.
            is_clear = (top[:, -1] > top[:, -2]) | (label_count == 2)
            assert np.array_equal(members[name].decide(found)[is_clear], answer.labels[is_clear])


def keys_on(url: str) -> set[str]:
    """Return the names of models and frames on the cluster."""
    with h2o_cluster(H2OPlace(url=url)) as h2o:
        models = h2o.api("GET /3/Models")["models"]
        frames = h2o.api("GET /3/Frames")["frames"]
    return {one["model_id"]["name"] for one in models} | {one["frame_id"]["name"] for one in frames}


def test_texts_become_members_on_a_running_cluster_that_is_left_clean(url, tmp_path):
    texts, labels = styled_texts(200, ("human", "machine"))
    settings = TabularSettings(
        sizes=MemberSettings(forest_trees=5, boosting_trees=5), h2o=H2OPlace(url=url)
    )
    before, lines = keys_on(url), list[str]()
    trained = train_tabular(
        texts,
        labels,
        folder=tmp_path / "model",
        trainer="h2o",
        settings=settings,
        progress=lines.append,
    )
    assert lines[1:] == ["Initializing H2O...", *(f"Training {name}..." for name in MEMBERS)]
    assert all(member.trainer == "h2o" for member in trained.members.values())
    scores = TabularMembers.load(tmp_path / "model").score("moreover crucial robust tapestry")
    assert all(probabilities[1] > 0.5 for probabilities in scores.values())
    assert keys_on(url) == before


def test_a_cluster_that_does_not_answer_is_named():
    with (
        pytest.raises(UsageError, match=r"no H2O cluster answers at http://127\.0\.0\.1:9"),
        h2o_cluster(H2OPlace(url="http://127.0.0.1:9")),
    ):
        pass
