"""Writes the fixtures of test_mojo.py: MOJO files, and what the H2O that wrote them answered.

Run: python tests/ensemble/record_mojo.py with h2o 3.46.0.6 or older and Java, in an environment of
its own: the open-source client of 3.46.0.12 writes no MOJO.
"""

import json
import tempfile
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import h2o
import numpy as np
from h2o import estimators

FOLDER = Path(__file__).parent / "fixtures" / "mojo"
COLUMNS = ["the", "the end", "of it", "çok", "中文", "a b", "x y", "z z"]
LABELS = ["ai", "human", "other"]
LEFT_OUT = ("experimental/", "_aux.bin")  # for people, and for what is not read


def main() -> None:
    """Train, ask and write, for two labels and for three."""
    h2o.init(nthreads=1, max_mem_size="1G", ip="127.0.0.1", bind_to_localhost=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        draw = np.random.RandomState(3)
        models = {}
        for label_count in (2, 3):
            models.update(record(draw, label_count))
        content = {"h2o_version": h2o.__version__, "columns": COLUMNS, "models": models}
        text = json.dumps(content, separators=(",", ":"))
        (FOLDER / "expected.json").write_text(text + "\n", encoding="utf-8")
    finally:
        h2o.cluster().shutdown()


def record(draw: np.random.RandomState, label_count: int) -> dict[str, Any]:
    """Write the MOJO of each member for so many labels, and return what H2O answers."""
    rows, asked = features(draw, 400), features(draw, 40)
    signal = np.nan_to_num(rows[:, 2]) * 2 + np.nan_to_num(rows[:, 0]) + 0.2 * draw.randn(400)
    numbers = np.digitize(signal, [0.3, 0.7][: label_count - 1])
    cells = [[*row, LABELS[number]] for row, number in zip(as_cells(rows), numbers, strict=True)]
    types = ["numeric"] * len(COLUMNS)
    frame = h2o.H2OFrame(cells, column_names=[*COLUMNS, "label"], column_types=[*types, "enum"])
    question = h2o.H2OFrame(as_cells(asked), column_names=COLUMNS, column_types=types)
    recorded = {}
    for algorithm, model in members(label_count).items():
        model.train(x=COLUMNS, y="label", training_frame=frame)
        answer = model.predict(question).as_data_frame(use_pandas=False, header=False)
        name = f"{algorithm}_{label_count}"
        write_mojo(model, FOLDER / f"{name}.zip")
        recorded[name] = {
            "rows": [[None if np.isnan(one) else one for one in row] for row in asked.tolist()],
            "labels": [line[0] for line in answer],
            "probabilities": [[float(one) for one in line[1:]] for line in answer],
        }
    return recorded


def members(label_count: int) -> dict[str, Any]:
    """Return the three members, not trained."""
    family = "binomial" if label_count == 2 else "multinomial"
    return {
        "drf": estimators.H2ORandomForestEstimator(ntrees=5, max_depth=6, seed=1),
        "gbm": estimators.H2OGradientBoostingEstimator(ntrees=5, max_depth=4, seed=1),
        "glm": estimators.H2OGeneralizedLinearEstimator(family=family, lambda_=0.001),
    }


def features(draw: np.random.RandomState, count: int) -> np.ndarray:
    """Return rows [count, columns] with zeros and missing values (NaN)."""
    shape = (count, len(COLUMNS))
    rows = np.round(np.where(draw.rand(*shape) < 0.5, draw.rand(*shape), 0.0), 6)
    rows[draw.rand(*shape) < 0.1] = np.nan
    return rows


def as_cells(rows: np.ndarray) -> list[list[object]]:
    """Return the rows as H2O takes them: nothing where a value is missing."""
    return [["" if np.isnan(one) else one for one in row] for row in rows.tolist()]


def write_mojo(model: Any, path: Path) -> None:
    """Write the model's MOJO without the parts that nothing reads, and without the time."""
    with tempfile.TemporaryDirectory() as folder:
        written = model.download_mojo(f"{folder}/model.zip")
        with ZipFile(written) as source, ZipFile(path, "w", ZIP_DEFLATED) as target:
            for name in source.namelist():
                if not any(part in name for part in LEFT_OUT):
                    entry = ZipInfo(name, (2026, 1, 1, 0, 0, 0))
                    entry.compress_type = ZIP_DEFLATED
                    target.writestr(entry, source.read(name))


if __name__ == "__main__":
    main()
