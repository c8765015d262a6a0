"""Writes the fixtures of tests/ensemble/trainers/test_h2o_export.py: what H2O itself answered.

Run: python tests/ensemble/record_h2o.py (needs h2o and Java). The models are kept as their
descriptions (JSON), the rows as a table of values, and H2O's probabilities as fp32.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from h2o_answers import ask, train_members
from odd_rows import COLUMNS, rows_of, value_table
from safetensors.numpy import save_file

from ivme.ensemble.trainers.h2o_cluster import h2o_cluster
from ivme.ensemble.trainers.h2o_description import describe_h2o
from ivme.ensemble.trainers.h2o_export import compile_h2o
from ivme.ensemble.trainers.settings import H2OPlace

FOLDER = Path(__file__).parent / "fixtures" / "h2o"
KEPT_ROWS = {2: 10_000, 3: 1_000}


def main() -> None:
    """Train, ask and write, for two labels and for three."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with h2o_cluster(H2OPlace()) as h2o:
        for label_count, kept in KEPT_ROWS.items():
            write(h2o, label_count, kept)


def write(h2o: Any, label_count: int, kept: int) -> None:
    """Write the fixture of one number of labels."""
    trained = train_members(h2o, label_count)
    members = [compile_h2o(describe_h2o(model), COLUMNS, mean) for model, mean in trained.values()]
    models = {name: model for name, (model, _) in trained.items()}
    table = as_held(h2o, models, value_table(members))
    _, answers = ask(h2o, models, rows_of(table)[:kept])
    arrays = {"values": table}
    for name, answer in answers.items():
        arrays[f"{name}.probabilities"] = answer.probabilities[:, 1:].astype(np.float32)
        arrays[f"{name}.labels"] = answer.labels.astype(np.uint8)
        arrays[f"{name}.means"] = trained[name][1]
    described = {name: asdict(describe_h2o(model)) for name, model in models.items()}
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False)
    (FOLDER / f"labels_{label_count}.json").write_text(text + "\n", encoding="utf-8")
    save_file(arrays, FOLDER / f"labels_{label_count}.safetensors")


def as_held(h2o: Any, models: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """Return the values as H2O reads them."""
    rows = np.repeat(values[:, np.newaxis], len(COLUMNS), axis=1)
    held, _ = ask(h2o, models, rows)
    return held[:, 0].copy()  # safetensors writes views wrongly


if __name__ == "__main__":
    main()
