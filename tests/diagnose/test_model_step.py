import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from ivme.diagnose.model_step import build_model_step
from ivme.diagnose.settings import StepSettings
from ivme.diagnose.targets import MODEL, Target
from ivme.models.presets import preset_folder


@pytest.fixture
def make_classifier(tmp_path):
    """Return a function that writes a tiny classifier and returns it as a target."""

    def make(labels, problem):
        folder = tmp_path / "model"
        shutil.copytree(preset_folder("bert-tiny"), folder)
        config = AutoConfig.from_pretrained(folder, num_labels=labels, problem_type=problem)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        return Target(kind=MODEL, reference=str(folder))

    return make


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (3, None),
        (3, "single_label_classification"),
        (3, "multi_label_classification"),
        (1, None),
        (3, "regression"),
    ],
)
def test_classifiers_of_every_problem_are_trained(make_classifier, labels, problem, dtype):
    target = make_classifier(labels, problem)
    step = build_model_step(target, StepSettings(sequence_length=8, dtype=dtype))
    before = [one.clone() for one in step.model.parameters()]
    step.run()
    assert all(torch.isfinite(one).all() for one in step.model.parameters())
    changed = zip(before, step.model.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in changed)
