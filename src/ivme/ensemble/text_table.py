"""Labeled texts as commands are given them: a file's columns, domains, and names for labels."""

from collections.abc import Mapping
from pathlib import Path

from ivme.ensemble.labeled_texts import LabeledTexts, read_labeled_texts
from ivme.errors import UsageError, WorkloadError

TEXT_COLUMN = "text"
LABEL_COLUMN = "label"


def read_table(
    path: str | Path,
    *,
    text_column: str = TEXT_COLUMN,
    label_column: str = LABEL_COLUMN,
    group_column: str | None = None,
) -> LabeledTexts:
    """Return the labeled texts of a .csv, .tsv or .jsonl file; a column may be a number, from 1.

    group_column: where it stands which texts belong together.

    Raises:
        WorkloadError: a file that cannot be read, is not UTF-8, lacks a column, or has a text
            without a label.
    """
    if Path(path).suffix.lower() == ".txt":
        raise WorkloadError(f"{path} has no labels; give a .csv, .tsv or .jsonl file with columns")
    found = read_labeled_texts(path, text=text_column, label=label_column, group=group_column)
    unlabeled = [at for at, label in enumerate(found.labels, start=1) if not label.strip()]
    if unlabeled:
        raise WorkloadError(
            f"{path}: text {unlabeled[0]} has no label in column {label_column!r}; give each text "
            "one, or take it out"
        )
    return found


def read_domains(
    path: str | Path, domain_column: str, *, text_column: str = TEXT_COLUMN
) -> tuple[str, ...]:
    """Return the domain of each text that `read_table` returns; "(none)" where there is none."""
    found = read_labeled_texts(path, text=text_column, label=domain_column)
    return tuple(domain.strip() or "(none)" for domain in found.labels)


def read_label_names(text: str | None) -> dict[str, str]:
    """Return what labels are called, as in "0=AI,1=Human"; nothing for None.

    Raises:
        UsageError: a part without "=", an empty side, or a label given twice.
    """
    names: dict[str, str] = {}
    for part in text.split(",") if text else ():
        label, separator, name = (one.strip() for one in part.partition("="))
        if not separator or not label or not name or label in names:
            raise UsageError(
                f"--label-names {text}: expected LABEL=NAME once for each label, with commas "
                "between, as in 0=AI,1=Human"
            )
        names[label] = name
    return names


def check_known_labels(names: Mapping[str, str], data: LabeledTexts) -> None:
    """Raise UsageError for a named label that no text has."""
    strange = sorted(set(names) - set(data.labels))
    if strange:
        raise UsageError(
            f"--label-names names {strange[0]!r}; the labels of {data.source} are "
            f"{', '.join(data.label_set)}"
        )
