"""Measures how well the tree and linear members tell texts apart, where they were not trained.

    python benchmarks/ensemble_quality.py --train train.csv --valid valid.csv -o quality.json
    python benchmarks/ensemble_quality.py ... --leave-out domain --leave-out generator

Trains on `--train` and scores `--valid`: as it is, and under attacks that leave a text readable.
With `--leave-out` it also trains without the texts of one value of the column, and without those
that share a group with them, and scores these; a column `generator` is made of `source`, what
stands behind the last "|". Trainings that would take longer than `--budget-s` in all are left out
and named; `--variants 0` trains on no changed copies, which takes half the time. The true-positive
rate is that of the first label where 1% of the second are taken for it; beside single members
stands the mean of their log odds. Writes figures as JSON.
"""

import argparse
import csv
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.augmentation import broken_words, misspelled, without_articles, without_marks
from ivme.ensemble.labeled_texts import own_groups
from ivme.ensemble.tabular import TabularMembers
from ivme.ensemble.training import TRAINERS, TabularSettings, train_tabular

Row = dict[str, str]
Scores = dict[str, NDArray[np.float64]]
FALSE_POSITIVES = 0.01
FEWEST_TEXTS = 20  # of a label, for figures about a part of the texts
HUMAN = "human"
LOOKALIKES = dict(zip("aceopxyi", "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456", strict=True))


def _each(change: Callable[[str, Random], str]) -> Callable[[str, Random], str]:
    return lambda text, chance: "".join(change(letter, chance) for letter in text)


ATTACKS: dict[str, Callable[[str, Random], str]] = {
    "lower case": lambda text, chance: text.lower(),
    "random capitals": _each(lambda one, chance: one.upper() if chance.random() < 0.2 else one),
    "doubled blanks": _each(lambda one, chance: "  " if one == " " else one),
    "look-alike letters": _each(
        lambda one, chance: LOOKALIKES.get(one, one) if chance.random() < 0.5 else one
    ),
    "invisible characters": _each(
        lambda one, chance: one + "\u200b" if chance.random() < 0.3 else one
    ),
    "paragraphs": lambda text, chance: re.sub(r"(?<=[.!?]) ", "\n\n", text),
    "other digits": _each(
        lambda one, chance: str(chance.randrange(10)) if one.isdecimal() else one
    ),
    "misspelling": misspelled,
    "broken words": broken_words,
    "no articles": without_articles,
    "no punctuation": without_marks,
    "50 words": lambda text, chance: " ".join(text.split()[:50]),
    "100 words": lambda text, chance: " ".join(text.split()[:100]),
}


def main() -> int:
    arguments = _parser().parse_args()
    train, valid = (_read(path) for path in (arguments.train, arguments.valid))
    labels = sorted({row["label"] for row in train})
    if len(labels) != 2:
        raise SystemExit(f"{arguments.train} has the labels {labels}; expected two")
    start_s = time.perf_counter()
    fit = _fitter(arguments)
    members, seconds = fit(train)
    start_by_s = start_s + arguments.budget_s - seconds  # the others train on fewer texts
    results: dict[str, object] = {"trained_s": seconds, "texts": len(train)}
    results["valid"] = _judged("valid", members, valid, labels)
    results["attacks"] = {
        name: _judged(name, members, _attacked(valid, attack), labels)
        for name, attack in ATTACKS.items()
    }
    for column in arguments.leave_out:
        results[f"without {column}"] = _leave_out(column, train, valid, labels, fit, start_by_s)
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--leave-out", action="append", default=[], metavar="COLUMN")
    parser.add_argument("--trainer", choices=TRAINERS, default="sklearn")
    parser.add_argument("--variants", type=int, default=TabularSettings().variants)
    parser.add_argument("--budget-s", type=float, default=3600.0, help="seconds for all of it")
    parser.add_argument("--model", type=Path, default=Path("out/ensemble_quality"))
    parser.add_argument("-o", "--output", type=Path)
    return parser


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["generator"] = row.get("source", "").rpartition("|")[2]
    return rows


def _fitter(arguments: argparse.Namespace) -> Callable[[list[Row]], tuple[TabularMembers, float]]:
    def fit(rows: list[Row]) -> tuple[TabularMembers, float]:
        start = time.perf_counter()
        members = train_tabular(
            [row["text"] for row in rows],
            [row["label"] for row in rows],
            groups=[row["group"] for row in rows] if "group" in rows[0] else None,
            folder=arguments.model,
            trainer=arguments.trainer,
            settings=TabularSettings(variants=arguments.variants),
        )
        return members, time.perf_counter() - start

    return fit


def _attacked(rows: list[Row], attack: Callable[[str, Random], str]) -> list[Row]:
    chance = Random(0)
    return [{**row, "text": attack(row["text"], chance)} for row in rows]


def _leave_out(
    column: str,
    train: list[Row],
    valid: list[Row],
    labels: list[str],
    fit: Callable[[list[Row]], tuple[TabularMembers, float]],
    start_by_s: float,
) -> dict[str, object]:
    results: dict[str, object] = {}
    rows = train + valid
    belongs = own_groups([row.get("group") for row in rows])
    for value in sorted({row[column] for row in train} - {HUMAN}):
        groups = {one for one, row in zip(belongs, rows, strict=True) if row[column] == value}
        unseen = [row for one, row in zip(belongs, rows, strict=True) if one in groups]
        rest = [row for one, row in zip(belongs, train, strict=False) if one not in groups]
        counts = [sum(row["label"] == label for row in unseen) for label in labels]
        if min(counts) < FEWEST_TEXTS:
            continue
        if time.perf_counter() > start_by_s:
            print(f"without {value}: not trained, no time left", flush=True)
            continue
        members, _ = fit(rest)
        results[value] = _judged(f"without {value}", members, unseen, labels)
    return results


def _judged(
    name: str, members: TabularMembers, rows: list[Row], labels: list[str]
) -> dict[str, dict[str, float]]:
    is_second = np.array([row["label"] == labels[1] for row in rows])
    found = members.score_batch([row["text"] for row in rows])
    odds = {
        member: np.log(np.clip(one[:, 1], 1e-6, 1) / np.clip(one[:, 0], 1e-6, 1))
        for member, one in found.items()
    }
    odds["mean"] = np.mean(list(odds.values()), axis=0)
    figures = {
        member: {
            "auroc": _auroc(one[is_second], one[~is_second]),
            "true_positive_rate": _found(-one[~is_second], -one[is_second]),
        }
        for member, one in odds.items()
    }
    shown = "  ".join(
        f"{member} {one['auroc']:.4f} {one['true_positive_rate']:.3f}"
        for member, one in figures.items()
    )
    print(f"{name:<32} {len(rows):>6}  {shown}", flush=True)
    return figures


def _auroc(high: NDArray[np.float64], low: NDArray[np.float64]) -> float:
    """Return how often a score of `high` is above one of `low`; equal ones count half."""
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, "left") + np.searchsorted(ordered, high, "right")
    return float(below.mean() / 2 / len(low))


def _found(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Return the share of positives above all but FALSE_POSITIVES of the negatives."""
    threshold = np.sort(negative)[::-1][int(FALSE_POSITIVES * len(negative))]
    return float((positive > threshold).mean())


if __name__ == "__main__":
    sys.exit(main())
