"""Predictions as lines of a file: JSON objects or rows of a table, one for each row read."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ivme.engines.protocol import Prediction
from ivme.errors import UsageError
from ivme.tune.rows import Row

DIGITS = 7  # significant ones, as many as float32 has
COLUMNS = {  # kind of model -> columns of a table, between "line" and "error"
    "classifier": ("label", "probability"),
    "embedding": ("vector",),
    "masked": ("text",),
    "causal": ("text",),
    "seq2seq": ("text",),
}


class AnswerLines:
    """Makes lines of one format for one kind of model.

    format: "jsonl" or "csv". labels: of a classifier, in the order of its outputs.
    """

    def __init__(self, output_format: str, kind: str, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._columns = ("line", *COLUMNS[kind], "error")
        self._is_table = output_format == "csv"

    def header(self) -> str:
        """Return what stands above all lines."""
        return table_line(self._columns) if self._is_table else ""

    def line(self, row: Row, answer: Prediction | str) -> str:
        """Return the line for a row; answer: its prediction, or the reason why it has none."""
        if isinstance(answer, str):
            content: dict[str, Any] = {"line": row.line, "error": answer}
        else:
            content = {"line": row.line, **self._fields(answer)}
        if not self._is_table:
            return json.dumps(content, ensure_ascii=False) + "\n"
        return table_line([_cell(content.get(name)) for name in self._columns])

    def _fields(self, answer: Prediction) -> dict[str, Any]:
        if answer.probabilities is not None:
            shares = [_short(share) for share in answer.probabilities]
            fields: dict[str, Any] = {"label": answer.label, "probability": max(shares)}
            if not self._is_table:
                fields["probabilities"] = dict(zip(self._labels, shares, strict=True))
            return fields
        if answer.vector is not None:
            return {"vector": [_short(value) for value in answer.vector]}
        return {"text": answer.text}


def output_format(path: Path | None) -> str:
    """Return the format that a file's name asks for; None, which is the terminal, gets jsonl.

    Raises:
        UsageError: it names neither.
    """
    if path is None:
        return "jsonl"
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in ("jsonl", "csv"):
        raise UsageError(f"cannot write {path}: expected a name that ends in .jsonl or .csv")
    return suffix


def _short(value: float) -> float:
    return float(f"{float(value):.{DIGITS}g}")


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def table_line(cells: Sequence[Any]) -> str:
    """Return the cells as a line of a table."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
