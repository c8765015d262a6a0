import json
import os
import shutil

import numpy as np
import pytest
from styles import styled_texts

from ivme.ensemble import train
from ivme.ensemble.ensemble_folder import EnsembleFolder
from ivme.ensemble.frozen_lm_training import FrozenLMSettings
from ivme.ensemble.groups import TransformerMember
from ivme.ensemble.kept_weights import KeptWeights, hash_of_texts
from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.ensemble.predictor import Predictor
from ivme.ensemble.train import EnsembleSettings, train_ensemble
from ivme.ensemble.trainers.settings import MemberSettings
from ivme.ensemble.training import TabularSettings, train_tabular
from ivme.ensemble.transformer_opening import open_weights
from ivme.ensemble.transformer_plan import PlanSettings
from ivme.ensemble.transformer_settings import TransformerSettings
from ivme.errors import ModelNotFoundError, UsageError
from ivme.models.presets import preset_folder

SMALL = TabularSettings(sizes=MemberSettings(forest_trees=10, boosting_trees=10))
TINY = TransformerSettings(
    layers=1,
    hidden_size=32,
    heads=2,
    vocabulary_size=500,
    max_length=48,
    epochs=4,
    learning_rate=1e-2,
)
TABULAR_ONLY = EnsembleSettings(members=("DRF", "GLM"), tabular=SMALL)


def styled(count: int, names=("human", "machine"), seed: int = 0, source="train.csv"):
    texts, labels = styled_texts(count, names, seed=seed)
    return LabeledTexts(texts=tuple(texts), labels=tuple(labels), source=source)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    lines: list[str] = []
    settings = EnsembleSettings(
        tabular=SMALL,
        transformers={"BERT": TINY, "RoBERTa": TINY},
        plans=PlanSettings(engines=("onnxruntime", "transformers")),
        label_names={"human": "Human", "machine": "AI"},
        least_words=7,
    )
    valid = styled(120, seed=1, source="valid.csv")
    folder = tmp_path_factory.mktemp("ensemble") / "model"
    return train_ensemble(settings, styled(300), valid, folder=folder, progress=lines.append), lines


def test_each_language_model_adds_a_member(tmp_path):
    bases = ("preset:gpt2-tiny", str(another_gpt2(tmp_path / "other")))
    settings = EnsembleSettings(
        members=("GLM",),
        tabular=SMALL,
        language_models=tuple(FrozenLMSettings(base=base) for base in bases),
        plans=PlanSettings(engines=("onnxruntime:float32",)),
    )
    found = train_ensemble(
        settings, styled(120), styled(60, seed=1, source="valid.csv"), folder=tmp_path / "model"
    )
    assert found.member_names == ("LM", "LM2", "GLM")
    trained = [found.training["members"][name]["training"] for name in ("LM", "LM2")]
    assert tuple(one["settings"]["base"] for one in trained) == bases
    assert found.stacking is not None
    assert set(found.stacking.weights_of(found.member_names)) == {"LM", "LM2", "GLM"}
    with Predictor.load(found.path, cache_size=0) as predictor:
        answer = predictor.predict_all(styled(1).texts[0])
    assert list(answer["individual_results"]) == ["LM", "LM2", "GLM"]
    assert answer["ensemble"]["total_models"] == 3
    said = [answer["individual_results"][name]["confidence"] for name in ("LM", "LM2")]
    assert said[0] != said[1]  # they stand on different models


def another_gpt2(folder):
    """Write a tiny language model with other weights than the preset's; return the folder."""
    import torch
    from transformers import AutoModelForCausalLM

    shutil.copytree(preset_folder("gpt2-tiny"), folder)
    torch.manual_seed(1)
    config = AutoModelForCausalLM.from_pretrained(folder).config
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def test_a_language_model_that_is_not_there_is_found_before_any_work(tmp_path):
    lines: list[str] = []
    settings = EnsembleSettings(
        members=("BERT",),
        transformers={"BERT": TINY},
        language_models=(FrozenLMSettings(base=str(tmp_path / "nowhere")),),
    )
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        train_ensemble(settings, styled(60), folder=tmp_path / "model", progress=lines.append)
    assert not lines


def test_all_five_are_trained_bound_and_combined(trained):
    found, lines = trained
    assert found.member_names == ("BERT", "RoBERTa", "DRF", "GBM", "GLM")
    assert found.label_names == {"human": "Human", "machine": "AI"}
    assert found.least_words == 7
    assert found.stacking is not None
    assert found.stacking.members == found.member_names
    assert [line for line in lines if line.startswith("Training GBM")] == ["Training GBM..."]
    assert lines[-1] == "Fitting the stacking..."
    EnsembleFolder.read(found.path).check()


def test_the_combination_of_the_opened_members_is_right_more_often_than_most(trained):
    found, _ = trained
    test = styled(200, seed=2)
    truth = test.numbers(found.labels)
    probabilities, decided = {}, {}
    for name in found.group_names:
        group = found.open_group(name, threads=1)
        scored = group.score_batch(test.texts)
        probabilities |= scored
        decided |= group.decide(scored)
        group.close()
    accuracies = [float((decided[name] == truth).mean()) for name in found.member_names]
    combined = found.stacking.combine(probabilities)
    # One label in ten is wrong, so that 0.9 is the most that can be reached.
    assert (combined.argmax(axis=1) == truth).mean() > max(np.median(accuracies) - 0.02, 0.8)


def test_plans_say_what_was_tried_and_int8_only_where_the_gate_lets_it(trained):
    found, lines = trained
    plan = found.training["members"]["BERT"]["plan"]
    tried = {one["name"]: one for one in plan["tried"]}
    # 120 texts cannot bound a loss by 1%, however small it is.
    assert "it may lose" in tried["onnxruntime:int8"]["reason"]
    assert plan["variant"].startswith("onnxruntime:float32")
    assert any(line.startswith("BERT not on onnxruntime:int8: it may lose") for line in lines)


def test_weights_are_kept_beside_the_plan_and_run_in_its_place(trained):
    found, _ = trained
    texts = ["well honestly dunno", "delve into the crucial landscape"]
    predictor = open_weights(found.path / "weights" / "BERT", found.path / "BERT", "cpu", 1, None)
    unplanned = TransformerMember("BERT", predictor, found.labels)
    planned = found.open_group("BERT")
    answers = [member.score_batch(texts)["BERT"] for member in (planned, unplanned)]
    assert np.allclose(*answers, atol=1e-5)
    planned.close()
    unplanned.close()


def test_without_validation_texts_some_are_held_out(tmp_path):
    lines: list[str] = []
    found = train_ensemble(
        TABULAR_ONLY, styled(200), folder=tmp_path / "model", progress=lines.append
    )
    counts = [sum(found.training[part]["texts"].values()) for part in ("train", "valid")]
    assert lines[0] == f"Held out {counts[1]} of 200 texts to validate on"
    assert sum(counts) == 200
    assert found.member_names == ("DRF", "GLM")
    assert found.group_names == ("tabular",)


def test_groups_stay_together_and_reach_the_tabular_members(tmp_path, monkeypatch):
    plain = styled(200)
    grouped = LabeledTexts(
        texts=tuple(f"{text} number {at}" for at, text in enumerate(plain.texts)),
        labels=plain.labels,
        groups=tuple(f"group {number // 2}" for number in range(200)),
    )
    given = {}

    def train_and_tell(texts, labels, **settings):
        given.update(settings, texts=texts)
        return train_tabular(texts, labels, **settings)

    monkeypatch.setattr(train, "train_tabular", train_and_tell)
    train_ensemble(TABULAR_ONLY, grouped, folder=tmp_path / "model")
    group_of = dict(zip(grouped.texts, grouped.groups, strict=True))
    assert given["groups"] == tuple(group_of[text] for text in given["texts"])
    held_out = {group_of[text] for text in given["validation"][0]}
    assert held_out
    assert not held_out & set(given["groups"])


def test_a_label_in_one_group_is_refused_before_transformers_are_trained(tmp_path):
    plain, lines = styled(200), []
    groups = tuple("all of it" if label == "human" else "" for label in plain.labels)
    grouped = LabeledTexts(texts=plain.texts, labels=plain.labels, groups=groups)
    settings = EnsembleSettings(tabular=SMALL, transformers={"BERT": TINY, "RoBERTa": TINY})
    with pytest.raises(UsageError, match=r"texts of the label 'human' .* in 'all of it'; give"):
        train_ensemble(
            settings,
            grouped,
            styled(60, seed=1),
            folder=tmp_path / "model",
            progress=lines.append,
        )
    assert not [line for line in lines if line.startswith("Training")]


def test_three_labels_and_one_transformer_are_trained(tmp_path):
    names = ("human", "machine", "other")
    settings = EnsembleSettings(
        members=("BERT", "GLM"),
        tabular=SMALL,
        transformers={"BERT": TINY},
        plans=PlanSettings(engines=("transformers",)),
        keep_weights=False,
    )
    found = train_ensemble(
        settings, styled(200, names), styled(80, names, seed=1), folder=tmp_path / "model"
    )
    assert found.labels == names
    assert found.group_of("BERT").threshold is None
    assert not (tmp_path / "model" / "weights").exists()
    group = found.open_group("BERT")
    assert group.score_batch(["one", "two"])["BERT"].shape == (2, 3)
    group.close()
    with pytest.raises(UsageError, match=r"its weights for .* were not kept|this machine has"):
        found.open_group("BERT", device="cuda")


def test_validation_texts_that_are_trained_on_are_left_out(tmp_path):
    train, lines = styled(200), []
    valid = styled(60, seed=1)
    both = LabeledTexts(
        texts=train.texts[:5] + valid.texts, labels=train.labels[:5] + valid.labels, source="v.csv"
    )
    found = train_ensemble(
        TABULAR_ONLY, train, both, folder=tmp_path / "model", progress=lines.append
    )
    assert lines[0] == "Left out 5 validation texts that are trained on"
    assert sum(found.training["valid"]["texts"].values()) == 60


def test_few_validation_texts_leave_the_stacking_out_and_say_so(tmp_path):
    lines: list[str] = []
    found = train_ensemble(
        TABULAR_ONLY,
        styled(200),
        styled(6, seed=1),
        folder=tmp_path / "model",
        progress=lines.append,
    )
    assert found.stacking is None
    assert lines[-1].startswith("No stacking: a label has ")


def test_an_older_ensemble_is_replaced_and_anything_else_is_not(tmp_path):
    folder = tmp_path / "model"
    first = train_ensemble(TABULAR_ONLY, styled(200), folder=folder)
    (folder / "MODEL_CARD.md").write_text("old")
    second = train_ensemble(TABULAR_ONLY, styled(200, seed=3), folder=folder)
    assert first.content_hash != second.content_hash
    assert not (folder / "MODEL_CARD.md").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="the folder holds something else"):
        train_ensemble(TABULAR_ONLY, styled(200), folder=other)
    with pytest.raises(UsageError, match="it is a file; name a folder"):
        train_ensemble(TABULAR_ONLY, styled(200), folder=other / "thesis.txt")


def test_a_training_that_fails_leaves_nothing_behind(tmp_path):
    settings = EnsembleSettings(
        members=("BERT",), transformers={"BERT": TransformerSettings(base=str(tmp_path / "no"))}
    )
    with pytest.raises(UsageError, match="no"):
        train_ensemble(settings, styled(200), folder=tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": ("XGB",)}, "members=XGB; expected some of BERT, RoBERTa, DRF, GBM, GLM"),
        ({"members": ()}, "members=none"),
        ({"held_out_share": 1.0}, "held_out_share=1.0"),
        (
            {"language_models": (FrozenLMSettings(base="gpt2"), FrozenLMSettings(base="gpt2"))},
            "language model 'gpt2' is given twice",
        ),
        (
            {"language_models": tuple(FrozenLMSettings(base=base) for base in "abcd")},
            r"9 members \(BERT, RoBERTa, LM, LM2, LM3, LM4, DRF, GBM, GLM\); at most 8 can be",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        EnsembleSettings(**settings)


def test_a_name_for_a_label_that_is_not_there_is_refused(tmp_path):
    settings = EnsembleSettings(members=("GLM",), label_names={"robot": "AI"})
    with pytest.raises(
        UsageError, match=r"a name for the label 'robot'; train\.csv has human, mach"
    ):
        train_ensemble(settings, styled(50), folder=tmp_path / "model")


def test_plan_settings_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="engines=compile; without a search expected some of"):
        PlanSettings(engines=("compile",))
    with pytest.raises(UsageError, match="search_s=0; expected more than 0"):
        PlanSettings(search_s=0)


def test_the_description_holds_no_trace_of_the_draft(trained):
    found, _ = trained
    content = (found.path / "ensemble.json").read_text()
    plan = json.loads((found.path / "BERT" / "plan.json").read_text())
    assert str(found.path.parent) not in content
    assert plan["reference"] == "BERT"


def test_an_interrupted_training_goes_on_from_the_weights_that_are_done(tmp_path, monkeypatch):
    monkeypatch.setenv("IVME_CACHE_DIR", str(tmp_path / "cache"))
    settings = EnsembleSettings(
        members=("BERT", "GLM"),
        tabular=SMALL,
        transformers={"BERT": TINY},
        plans=PlanSettings(engines=("onnxruntime:float32",)),
    )
    texts, valid = styled(200), styled(100, seed=1)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "train_tabular", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_ensemble(settings, texts, valid, folder=tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    [kept] = (tmp_path / "cache" / "trained").iterdir()

    lines: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(train, "train_transformer", lambda *_, **__: pytest.fail("trained again"))
        found = train_ensemble(
            settings, texts, valid, folder=tmp_path / "model", progress=lines.append
        )
    assert "BERT was trained before an interruption: its weights are taken" in lines
    assert found.training["members"]["BERT"]["training"]
    assert not kept.exists()
    with Predictor.load(tmp_path / "model") as predictor:
        assert predictor.predict_all(texts.texts[0])["ensemble"]["total_models"] == 2


def test_weights_of_other_texts_or_settings_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("IVME_CACHE_DIR", str(tmp_path / "cache"))
    trainings: list[str] = []

    def fill(folder):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text(f"weights {len(trainings)}")
        trainings.append(folder.name)
        return {"count": len(trainings)}

    for number, key in enumerate(({"seed": 0}, {"seed": 1}, {"seed": 0})):
        kept = KeptWeights()
        facts, was_there = kept.train_once(key, tmp_path / f"weights{number}", fill)
        assert was_there == (number == 2)
    assert facts == {"count": 1}
    assert (tmp_path / "weights2" / "model.safetensors").read_text() == "weights 0"
    assert hash_of_texts(["a", "b"]) != hash_of_texts(["ab"]) != hash_of_texts(["a"], ["b"])
    kept.forget()
    assert len(list((tmp_path / "cache" / "trained").iterdir())) == 1


def test_weights_that_nobody_came_back_for_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setenv("IVME_CACHE_DIR", str(tmp_path))
    old, recent = tmp_path / "trained" / "old", tmp_path / "trained" / "recent"
    for folder in (old, recent):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    KeptWeights()
    assert list((tmp_path / "trained").iterdir()) == [recent]
