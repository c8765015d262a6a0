"""Models trained on a cluster, and what H2O itself answers for rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from odd_rows import COLUMNS, training_rows

from ivme.ensemble.rows import rows_from_dense
from ivme.ensemble.trainers.h2o_cluster import LABEL_COLUMN, uploaded
from ivme.ensemble.trainers.h2o_trainer import column_means, h2o_estimator
from ivme.ensemble.trainers.settings import MEMBERS, MemberSettings

SIZES = MemberSettings(forest_trees=6, forest_depth=6, boosting_trees=6, seed=1)


@dataclass(frozen=True)
class Answers:
    """probabilities: [rows, labels]; labels: the number of the label that H2O chose, [rows]."""

    probabilities: np.ndarray
    labels: np.ndarray


def train_members(
    h2o: Any, label_count: int, has_missing: bool = False
) -> dict[str, tuple[Any, np.ndarray]]:
    """Return H2O's own model of each member with the column means that it fills gaps with."""
    dense, numbers = training_rows(label_count)
    rows = rows_from_dense(dense)
    trained = {}
    with uploaded(h2o, rows, COLUMNS, numbers) as frame:
        means = column_means(rows)
        if has_missing:
            frame[frame[COLUMNS[0]] > 0.7, COLUMNS[1]] = float("nan")
            means = np.array(frame[list(COLUMNS)].mean()).ravel()
        for name in MEMBERS:
            model = h2o_estimator(name, SIZES, label_count, len(dense))
            model.train(x=list(COLUMNS), y=LABEL_COLUMN, training_frame=frame)
            trained[name] = (model, means)
    return trained


def ask(
    h2o: Any, models: dict[str, Any], rows: np.ndarray
) -> tuple[np.ndarray, dict[str, Answers]]:
    """Return the rows as H2O holds them, and what each model answers for them.

    H2O may read a decimal number one bit beside it, which matters at split points.
    """
    cells = [["" if np.isnan(one) else repr(float(one)) for one in row] for row in rows]
    types = ["numeric"] * len(COLUMNS)
    frame = h2o.H2OFrame(cells, column_names=list(COLUMNS), column_types=types)
    answers = {}
    for name, model in models.items():
        answered = download(model.predict(frame))
        answers[name] = Answers(answered[:, 1:], answered[:, 0].astype(np.intp))
    held = download(frame)
    h2o.remove(frame)
    return held, answers


def download(frame: Any) -> np.ndarray:
    """Return a frame of numbers [rows, columns] to the last bit, NaN where one is missing."""
    lines = frame.as_data_frame(use_pandas=False, header=False)
    return np.array([[float(one) if one else np.nan for one in line] for line in lines])
