"""Fitting a stacking to predictions on texts that the members were not trained on.

Every set of members gets its own pool. Temperature and thresholds come from scores of texts that
a pool was not fitted to: the texts are cut into folds, and each is scored by a fit to the others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.stacking import (
    FALSE_POSITIVE_RATES,
    MAX_MEMBERS,
    Pool,
    Stacking,
    Table,
    log_odds,
    softmax,
    subsets,
)
from ivme.errors import UsageError

FOLDS = 5
PENALTY = 1.0  # texts' worth of pull of each weight to that of the plain average
TEMPERATURES = (0.2, 5.0)


def stacking_if_enough(
    probabilities: Mapping[str, Table],
    label_numbers: NDArray[np.intp],
    labels: Sequence[str],
    *,
    seed: int = 0,
    progress: Callable[[str], None],
) -> Stacking | None:
    """Return what `fit_stacking` returns; None, which progress says, where texts are too few."""
    fewest = int(np.bincount(label_numbers, minlength=len(labels)).min())
    if fewest < FOLDS:
        progress(f"No stacking: a label has {fewest} validation texts, and it takes {FOLDS}")
        return None
    progress("Fitting the stacking...")
    return fit_stacking(probabilities, label_numbers, labels, seed=seed)


def fit_stacking(
    probabilities: Mapping[str, Table],
    label_numbers: NDArray[np.intp],
    labels: Sequence[str],
    *,
    penalty: float = PENALTY,
    seed: int = 0,
) -> Stacking:
    """Return the stacking for members' probabilities, [texts, labels] each, of held-out texts.

    penalty: how strongly weights are held to equal ones; 0: not at all.

    Raises:
        UsageError: too many members, too few texts of a label, or tables that do not fit.
    """
    members = tuple(probabilities)
    _check(probabilities, label_numbers, labels)
    evidence = np.stack([log_odds(probabilities[name]) for name in members])
    folds = _folds(label_numbers, seed)
    pools, facts = {}, {}
    for names in subsets(members):
        part = evidence[[members.index(name) for name in names]]
        pool, scores = _fit_pool(part, label_numbers, folds, labels, penalty)
        pools["+".join(names)] = pool
        if names == members:
            facts = _facts(scores, pool.temperature, label_numbers)
    return Stacking(members=members, labels=tuple(labels), pools=pools, facts=facts)


def threshold_at(scores: Table, rate: float) -> float:
    """Return the least threshold that at most `rate` of the scores [texts] reach."""
    falling = np.sort(scores)[::-1]
    allowed = int(np.floor(rate * len(falling)))
    if allowed >= len(falling):
        return 0.0
    return float(np.nextafter(falling[allowed], np.inf))


def _check(
    probabilities: Mapping[str, Table], label_numbers: NDArray[np.intp], labels: Sequence[str]
) -> None:
    if not 1 <= len(probabilities) <= MAX_MEMBERS:
        raise UsageError(f"{len(probabilities)} members to combine; expected 1 to {MAX_MEMBERS}")
    expected = (len(label_numbers), len(labels))
    for name, table in probabilities.items():
        if table.shape != expected:
            raise UsageError(f"probabilities of {name} are {table.shape}; expected {expected}")
    counts = np.bincount(label_numbers, minlength=len(labels))
    if counts.min() < FOLDS:
        raise UsageError(
            f"{counts.min()} held-out texts of the label {labels[int(counts.argmin())]!r}; "
            f"combining members takes {FOLDS} or more of each"
        )


def _folds(label_numbers: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return the fold of each text; every label is spread evenly over the folds."""
    order = np.random.RandomState(seed).permutation(len(label_numbers))
    ranked = order[np.argsort(label_numbers[order], kind="stable")]
    folds = np.empty(len(label_numbers), np.intp)
    folds[ranked] = np.arange(len(ranked)) % FOLDS
    return folds


def _fit_pool(
    evidence: Table,
    label_numbers: NDArray[np.intp],
    folds: NDArray[np.intp],
    labels: Sequence[str],
    penalty: float,
) -> tuple[Pool, Table]:
    """Return the pool, and the scores of each text by a fit to the other folds."""
    held_out = np.empty((len(label_numbers), len(labels)))
    for fold in range(FOLDS):
        left_out = folds == fold
        weights, biases = _fit(evidence[:, ~left_out], label_numbers[~left_out], penalty)
        held_out[left_out] = np.tensordot(weights, evidence[:, left_out], axes=1) + biases
    temperature = _fit_temperature(held_out, label_numbers)
    weights, biases = _fit(evidence, label_numbers, penalty)
    # One member alone keeps its order whatever is fitted. Scores by five fits have five scales, and
    # where a member's scores end in a plateau their threshold lies above all that it can give.
    own = np.tensordot(weights, evidence, axes=1) + biases
    calibrated = softmax((own if len(weights) == 1 else held_out) / temperature)
    thresholds = {
        label: {
            rate: threshold_at(calibrated[label_numbers != number, number], float(rate))
            for rate in FALSE_POSITIVE_RATES
        }
        for number, label in enumerate(labels)
    }
    pool = Pool(weights=weights, biases=biases, temperature=temperature, thresholds=thresholds)
    return pool, held_out


def _fit(evidence: Table, label_numbers: NDArray[np.intp], penalty: float) -> tuple[Table, Table]:
    """Return weights [members], none negative, and biases [labels] of the least log loss.

    Weights are pulled to 1 / members, the geometric mean, which needs no data.
    """
    from scipy.optimize import minimize

    member_count, text_count, label_count = evidence.shape
    equal = 1.0 / member_count
    rows = np.arange(text_count)

    def loss(values: Table) -> tuple[float, Table]:
        weights, biases = values[:member_count], values[member_count:]
        shares = softmax(np.tensordot(weights, evidence, axes=1) + biases)
        log_loss = -np.log(np.maximum(shares[rows, label_numbers], 1e-300)).sum()
        shares[rows, label_numbers] -= 1.0
        pull = weights - equal
        gradient = np.concatenate(
            [np.tensordot(evidence, shares, axes=2) + penalty * pull, shares.sum(axis=0) + biases]
        )
        total = log_loss + (penalty * (pull**2).sum() + (biases**2).sum()) / 2
        return float(total / text_count), gradient / text_count

    start = np.concatenate([np.full(member_count, equal), np.zeros(label_count)])
    bounds = [(0.0, None)] * member_count + [(None, None)] * label_count
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    return found[:member_count], found[member_count:]


def _fit_temperature(scores: Table, label_numbers: NDArray[np.intp]) -> float:
    """Return what to divide scores by for the least log loss."""
    from scipy.optimize import minimize_scalar

    low, high = np.log(TEMPERATURES)
    return float(
        np.exp(
            minimize_scalar(
                lambda value: _log_loss(softmax(scores / np.exp(value)), label_numbers),
                bounds=(low, high),
                method="bounded",
            ).x
        )
    )


def _facts(scores: Table, temperature: float, label_numbers: NDArray[np.intp]) -> dict[str, Any]:
    shares = softmax(scores / temperature)
    return {
        "texts": len(label_numbers),
        "folds": FOLDS,
        "log_loss": _log_loss(shares, label_numbers),
        "accuracy": float((shares.argmax(axis=1) == label_numbers).mean()),
    }


def _log_loss(shares: Table, label_numbers: NDArray[np.intp]) -> float:
    right = shares[np.arange(len(label_numbers)), label_numbers]
    return float(-np.log(np.maximum(right, 1e-300)).mean())
