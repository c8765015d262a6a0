"""Answers on the rows of a file: JSON objects, or rows of a table, one for each row read."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ivme.tune.answer_lines import table_line
from ivme.tune.file_prediction import FileJob, FileProgress, here_in_chunks, predict_file

if TYPE_CHECKING:
    from ivme.ensemble.predictor import Predictor
    from ivme.tune.rows import Row

CHUNK_ROWS = 64  # answered and written together
DIGITS = 6  # of probabilities in tables


class EnsembleLines:
    """Makes lines of one format, "jsonl" or "csv", from answers with details.

    has_details: JSON lines keep the details; tables get the confidence of each member and the
    probability of each label.
    """

    def __init__(
        self, output_format: str, members: Sequence[str], labels: Sequence[str], has_details: bool
    ) -> None:
        self._is_table = output_format == "csv"
        self._members, self._labels = tuple(members), tuple(labels)
        self._has_details = has_details

    def header(self) -> str:
        """Return what stands above all lines."""
        if not self._is_table:
            return ""
        names = ["line", "prediction", "label", "confidence", "vote_count", "total_models"]
        names += ["too_short", *self._members]
        if self._has_details:
            names += [f"confidence {name}" for name in self._members]
            names += [f"probability {label}" for label in self._labels]
        return table_line([*names, "error"])

    def line(self, row: "Row", answer: Any) -> str:
        """Return the line for a row; answer: of predict_all with details, or why there is none."""
        if self._is_table:
            return table_line(self._cells(row, answer))
        if isinstance(answer, str):
            content = {"line": row.line, "error": answer}
        else:
            kept = ("individual_results", "ensemble", *(["details"] if self._has_details else []))
            content = {"line": row.line, **{name: answer[name] for name in kept}}
        return json.dumps(content, ensure_ascii=False) + "\n"

    def _cells(self, row: "Row", answer: Any) -> list[Any]:
        members, labels = self._members, self._labels
        if isinstance(answer, str):
            extra = len(members) + len(labels) if self._has_details else 0
            return [row.line, *[""] * (6 + len(members) + extra), answer]
        given, said, details = answer["individual_results"], answer["ensemble"], answer["details"]
        cells = [row.line, said["prediction"], said["label"], _short(said["confidence"])]
        cells += [said["vote_count"], said["total_models"], str(details["too_short"]).lower()]
        cells += [given[name]["label"] if name in given else "" for name in members]
        if self._has_details:
            cells += [
                _short(given[name]["confidence"]) if name in given else "" for name in members
            ]
            cells += [_short(details["probability"][label]) for label in labels]
        return [*cells, ""]


def answer_file(
    job: FileJob,
    predictor: "Predictor",
    *,
    has_details: bool,
    tell: Callable[[FileProgress], None] = lambda progress: None,
) -> FileProgress:
    """Answer the rows of a file in order; a run that was stopped goes on where its output ends.

    Raises:
        WorkloadError: the file cannot be read, or a row cannot be answered and the job is strict.
        UsageError: the output is there already, or was begun in another way.
    """
    from ivme.tune.answer_lines import output_format

    written_as = output_format(job.output)
    lines = EnsembleLines(written_as, predictor.member_names, predictor.labels, has_details)
    identity = {
        "ensemble": predictor.content_hash[:16],
        "voting": predictor.voting,
        "details": has_details,
        "column": job.column,
        "format": written_as,
    }

    def predict(texts: Sequence[str]) -> list[dict[str, Any]]:
        return predictor.predict_batch(texts, details=True)

    answer = here_in_chunks(predict, lines, job.chunk_rows)
    return predict_file(job, identity, answer, lines, tell)


def _short(value: float) -> float:
    return round(value, DIGITS)
