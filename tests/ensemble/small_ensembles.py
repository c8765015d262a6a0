"""A small ensemble on disk: three tabular members and a transformer with random weights."""

import json
import shutil
from pathlib import Path

from ivme.ensemble.ensemble_folder import ENSEMBLE_FILE, REPORTS, EnsembleFolder
from ivme.ensemble.ensemble_json import GroupEntry, ensemble_to_json
from ivme.ensemble.manifest import write_manifest
from ivme.ensemble.tabular import TabularMembers
from ivme.models.presets import preset_folder

LABELS = ("human", "machine")


def random_classifier(folder: Path, labels: tuple[str, ...] = LABELS) -> Path:
    """Write a tiny classifier of these labels, as it was before training; return the folder."""
    shutil.copytree(preset_folder("bert-tiny"), folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = {str(number): label for number, label in enumerate(labels)}
    config["label2id"] = {label: number for number, label in enumerate(labels)}
    path.write_text(json.dumps(config))
    return folder


def write_random_plan(
    folder: Path, model_folder: Path, engine: str = "transformers", precision: str = "float32"
) -> Path:
    """Write a plan of the classifier; return its folder."""
    from ivme.engines.batching import Batching
    from ivme.engines.protocol import EngineOptions
    from ivme.models.loading import load_model
    from ivme.tune.plan import write_plan
    from ivme.tune.variants import Variant

    write_plan(
        folder,
        model=load_model(str(model_folder)),
        variant=Variant(engine=engine, precision=precision, threads=1, batching=Batching()),
        options=EngineOptions(max_length=64),
        evidence={},
    )
    return folder


def write_small_ensemble(folder: Path, tabular: Path, scratch: Path) -> EnsembleFolder:
    """Write an ensemble of BERT, with random weights, and the members of the tabular folder."""
    folder.mkdir(parents=True)
    shutil.copytree(tabular, folder / "tabular")
    weights = random_classifier(scratch / "BERT")
    write_random_plan(folder / "BERT", weights)
    shutil.copytree(weights, folder / "weights" / "BERT")
    members = TabularMembers.load(tabular)
    groups = [
        GroupEntry(name="BERT", kind="plan", folder="BERT", members=("BERT",)),
        GroupEntry(
            name="tabular", kind="tabular", folder="tabular", members=tuple(members.members)
        ),
    ]
    content = ensemble_to_json(
        labels=members.labels,
        label_names={"human": "Human"},
        groups=groups,
        stacking=None,
        least_words=5,
        training={"made_by": "a test"},
    )
    (folder / ENSEMBLE_FILE).write_text(content)
    write_manifest(folder, reports=REPORTS)
    return EnsembleFolder.read(folder)
