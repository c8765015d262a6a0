import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ivme.ensemble.compiling import CompileJob, bind_by_name, compile_ensemble
from ivme.ensemble.ensemble_folder import ENSEMBLE_FILE, REPORTS, EnsembleFolder
from ivme.ensemble.ensemble_json import GroupEntry, ensemble_to_json
from ivme.ensemble.features import NgramBlock, NgramSettings, TfidfFeatures
from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.ensemble.manifest import write_manifest
from ivme.ensemble.mojo import read_mojo
from ivme.ensemble.rows import rows_from_dense
from ivme.ensemble.tabular import TabularMembers
from ivme.ensemble.transformer_plan import PlanSettings
from ivme.errors import UsageError

FIXTURES = Path(__file__).parent / "fixtures" / "mojo"  # written by H2O
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
PLANS = PlanSettings(engines=("transformers",))


def features_of(ngrams: list[str]) -> TfidfFeatures:
    block = NgramBlock(settings=NgramSettings(), ngrams=tuple(ngrams), idf=np.ones(len(ngrams)))
    return TfidfFeatures((block,))


def answers_of(member, name: str, features_first: int = 0) -> float:
    """Return by how much the member's answers differ from those that H2O recorded."""
    recorded = EXPECTED["models"][name]
    rows = np.array(recorded["rows"], np.float64)
    before = np.full((len(rows), features_first), 7.0)
    found = member.probabilities(rows_from_dense(np.concatenate([before, rows], axis=1)))
    return np.abs(found - recorded["probabilities"]).max()


@pytest.fixture
def ensemble_of_mojos(tmp_path) -> Path:
    """The folder of an ensemble whose DRF and GLM were recorded from H2O."""
    features = features_of(EXPECTED["columns"])
    mojos = {"DRF": read_mojo(FIXTURES / "drf_2.zip"), "GLM": read_mojo(FIXTURES / "glm_2.zip")}
    labels = mojos["DRF"].labels
    folder = tmp_path / "model"
    members = {name: mojo.bound_to(features) for name, mojo in mojos.items()}
    TabularMembers(features=features, labels=labels, members=members).save(folder / "tabular")
    group = GroupEntry(name="tabular", kind="tabular", folder="tabular", members=tuple(mojos))
    content = ensemble_to_json(
        labels=labels, label_names={}, groups=[group], stacking=None, least_words=5, training={}
    )
    (folder / ENSEMBLE_FILE).write_text(content)
    write_manifest(folder, reports=REPORTS)
    return folder


def test_a_mojo_takes_the_place_of_a_member(ensemble_of_mojos, tmp_path):
    job = CompileJob(mojos={"DRF": FIXTURES / "gbm_2.zip"})
    told = []
    compiled = compile_ensemble(ensemble_of_mojos, tmp_path / "new", job, told.append)
    members = TabularMembers.load(tmp_path / "new" / "tabular").members
    assert answers_of(members["DRF"], "gbm_2") <= 1e-6
    assert answers_of(members["GLM"], "glm_2") <= 1e-6
    assert compiled.training["compiled"]["members"] == {"DRF": "gbm_2.zip"}
    assert compiled.content_hash != EnsembleFolder.read(ensemble_of_mojos).content_hash
    assert told[0].endswith("gbm_2.zip...")


def test_what_was_replaced_before_stays_named(ensemble_of_mojos, tmp_path):
    folder = ensemble_of_mojos
    texts = tuple(f"text {number}" for number in range(20))
    labels = EnsembleFolder.read(folder).labels * 10
    data = LabeledTexts(texts=texts, labels=labels)
    for job in (
        CompileJob(mojos={"DRF": FIXTURES / "gbm_2.zip"}),
        CompileJob(mojos={"GLM": FIXTURES / "drf_2.zip"}),
        CompileJob(data=data),
    ):
        compiled = compile_ensemble(folder, folder, job)
    assert compiled.training["compiled"]["members"] == {"DRF": "gbm_2.zip", "GLM": "drf_2.zip"}


def test_files_of_others_stay_unbound(ensemble_of_mojos, tmp_path):
    folder, job = ensemble_of_mojos, CompileJob(mojos={"DRF": FIXTURES / "gbm_2.zip"})
    (folder / "runs").mkdir()
    (folder / "runs" / "mine.json").write_text("{}")
    elsewhere = compile_ensemble(folder, tmp_path / "new", job)
    assert not (tmp_path / "new" / "runs").exists()
    in_place = compile_ensemble(folder, folder, job)
    assert in_place.content_hash == elsewhere.content_hash
    assert "runs/mine.json" not in in_place.files
    (folder / "runs" / "mine.json").write_text("changed")
    EnsembleFolder.read(folder).check()


def test_few_texts_leave_the_stacking_out_and_say_so(ensemble_of_mojos, tmp_path):
    labels, lines = EnsembleFolder.read(ensemble_of_mojos).labels * 4, []
    data = LabeledTexts(texts=tuple(f"text {at}" for at in range(8)), labels=labels)
    job = CompileJob(data=data)
    compiled = compile_ensemble(ensemble_of_mojos, tmp_path / "new", job, lines.append)
    assert compiled.stacking is None
    assert lines[-1] == "No stacking: a label has 4 validation texts, and it takes 5"


def test_a_mojo_is_bound_by_names_among_other_features():
    mojo = read_mojo(FIXTURES / "gbm_2.zip")
    features = features_of(["another", *EXPECTED["columns"]])
    with pytest.raises(UsageError, match="the MOJO reads 8 columns"):
        bind_by_name(mojo, features)
    named = dataclasses.replace(mojo, columns=features.names[1:])
    member = bind_by_name(named, features)
    assert answers_of(member, "gbm_2", features_first=1) <= 1e-6
    assert member.features_hash == features.content_hash


@pytest.mark.parametrize(
    ("mojos", "message"),
    [
        ({"XGB": "gbm_2.zip"}, "member 'XGB'; the tree and linear members of .* are DRF, GLM"),
        ({"DRF": "drf_3.zip"}, "drf_3.zip has the labels .*; the ensemble has"),
        ({"DRF": "nothing.zip"}, "cannot read .*nothing.zip"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(
    ensemble_of_mojos, tmp_path, mojos, message
):
    job = CompileJob(mojos={name: FIXTURES / file for name, file in mojos.items()})
    with pytest.raises(UsageError, match=message):
        compile_ensemble(ensemble_of_mojos, tmp_path / "new", job)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_job_says_what_it_lacks():
    with pytest.raises(UsageError, match="nothing to compile"):
        CompileJob()
    with pytest.raises(UsageError, match="H2O models without the URL of their cluster"):
        CompileJob(h2o_models={"DRF": "model-1"})
    with pytest.raises(UsageError, match="member DRF: a MOJO and an H2O model"):
        CompileJob(mojos={"DRF": Path("a.zip")}, h2o_models={"DRF": "b"}, h2o_url="http://x")


def test_texts_settle_plans_thresholds_and_stacking_anew(small_ensemble, tmp_path):
    from styles import styled_texts

    shutil.copytree(small_ensemble, tmp_path / "model")
    texts, labels = styled_texts(60, ("human", "machine"), seed=4)
    data = LabeledTexts(texts=tuple(texts), labels=tuple(labels), source="texts.csv")
    job = CompileJob(data=data, plans=PLANS)
    compiled = compile_ensemble(tmp_path / "model", tmp_path / "model", job)
    assert compiled.stacking is not None
    assert compiled.stacking.members == compiled.member_names
    assert compiled.group_of("BERT").threshold is not None
    assert compiled.training["compiled"]["BERT"]["how"] == "quick"
    assert "members" not in compiled.training["compiled"]
    group = compiled.open_group("BERT")
    assert group.score_batch(["moreover"])["BERT"].shape == (1, 2)
    group.close()


def test_texts_of_other_labels_and_lost_weights_are_refused(small_ensemble, tmp_path):
    shutil.copytree(small_ensemble, tmp_path / "model")
    strange = LabeledTexts(texts=("a", "b"), labels=("x", "y"), source="texts.csv")
    with pytest.raises(UsageError, match=r"texts.csv has the labels x, y; the ensemble has human"):
        compile_ensemble(tmp_path / "model", tmp_path / "new", CompileJob(data=strange))
    shutil.rmtree(tmp_path / "model" / "weights")
    write_manifest(tmp_path / "model", reports=REPORTS)
    right = LabeledTexts(texts=("a", "b"), labels=("human", "machine"))
    with pytest.raises(UsageError, match="has no weights of BERT to make a plan from"):
        compile_ensemble(tmp_path / "model", tmp_path / "new", CompileJob(data=right))
