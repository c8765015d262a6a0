"""Stacking: the members' probabilities combined into one, with a weight for each member.

A logarithmic pool: score[label] = bias[label] + sum over members of weight * log-odds[label],
softmax of score / temperature. For two labels this is logistic regression on the members'
log-odds. There is one pool for each set of members that may be there, so that a member that is
missing changes the weights of the others and not their meaning. Needs NumPy alone; fitting is in
stacking_fitting.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ivme.errors import UsageError

SMALLEST = 1e-4  # probabilities are held within this of 0 and 1: a forest says 0 out of 200 trees
FALSE_POSITIVE_RATES = ("0.01", "0.05")  # that thresholds are kept for
MAX_MEMBERS = 8  # a pool for each set of members: 255 of them

Table = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """How one set of members is combined.

    weights: float64 [members], none negative; biases: float64 [labels]. thresholds: label ->
    false-positive rate -> least probability of the label at which so many texts of other labels
    are taken for it; found on texts that the pool was not fitted to.
    """

    weights: Table
    biases: Table
    temperature: float
    thresholds: Mapping[str, Mapping[str, float]]

    def scores(self, evidence: Table) -> Table:
        """Return the scores before the softmax, [texts, labels], of [members, texts, labels]."""
        pooled: Table = np.tensordot(self.weights, evidence, axes=1)
        return (pooled + self.biases) / self.temperature


@dataclass(frozen=True, kw_only=True, eq=False)
class Stacking:
    """Weighted, calibrated combination of members.

    pools: by the members' names, joined by "+" in the order of `members`. facts: on how many texts
    it was fitted and how good it was on texts left out; anything JSON.
    """

    members: tuple[str, ...]
    labels: tuple[str, ...]
    pools: Mapping[str, Pool]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def combine(self, probabilities: Mapping[str, Table]) -> Table:
        """Return the calibrated probability of each label, [labels] or [texts, labels].

        probabilities: by member, [labels] for one text or [texts, labels]; members that are not
        there are missing.

        Raises:
            UsageError: no member at all, or one that was not there when this was fitted.
        """
        pool = self.pool_of(probabilities)
        tables = [np.asarray(probabilities[name], np.float64) for name in self._sort(probabilities)]
        is_single = tables[0].ndim == 1
        evidence = np.stack([log_odds(np.atleast_2d(table)) for table in tables])
        combined = softmax(pool.scores(evidence))
        return combined[0] if is_single else combined

    def pool_of(self, names: Mapping[str, Any] | Sequence[str]) -> Pool:
        """Return the pool of the members that are there."""
        return self.pools["+".join(self._sort(names))]

    def weights_of(self, names: Mapping[str, Any] | Sequence[str]) -> dict[str, float]:
        """Return the weight of each member that is there."""
        weights = self.pool_of(names).weights
        return {name: float(one) for name, one in zip(self._sort(names), weights, strict=True)}

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return {
            "members": list(self.members),
            "labels": list(self.labels),
            "pools": {
                name: {
                    "weights": pool.weights.tolist(),
                    "biases": pool.biases.tolist(),
                    "temperature": pool.temperature,
                    "thresholds": {key: dict(one) for key, one in pool.thresholds.items()},
                }
                for name, pool in self.pools.items()
            },
            "facts": dict(self.facts),
        }

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self.members)}

    def _sort(self, names: Mapping[str, Any] | Sequence[str]) -> list[str]:
        strange = [name for name in names if name not in self._place]
        if strange or not len(names):
            raise UsageError(
                f"members {', '.join(strange) or 'none'} to combine; expected some of "
                f"{', '.join(self.members)}"
            )
        return sorted(names, key=self._place.__getitem__)


def stacking_from_json(content: Mapping[str, Any], source: str) -> Stacking:
    """Return the stacking that `to_json` gave; `source` names its file in errors.

    Raises:
        UsageError: parts are missing or do not fit together.
    """
    try:
        members, labels = tuple(content["members"]), tuple(content["labels"])
        pools = {
            name: _read_pool(one, len(name.split("+")), labels)
            for name, one in content["pools"].items()
        }
        expected = {"+".join(names) for names in subsets(members)}
        if set(pools) != expected or not pools:
            raise ValueError(f"{len(pools)} pools for {len(members)} members")
        return Stacking(members=members, labels=labels, pools=pools, facts=dict(content["facts"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{source}: its stacking is damaged ({error}); copy the folder again, or train again"
        ) from error


def subsets(members: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every set of members but the empty one, in the order of the members."""
    chosen: list[tuple[str, ...]] = [()]
    for name in members:
        chosen += [(*some, name) for some in chosen]
    return [some for some in chosen if some]


def log_odds(probabilities: Table) -> Table:
    """Return log p[label] less the mean over labels, [texts, labels]; p held within SMALLEST."""
    logs = np.log(np.clip(probabilities, SMALLEST, 1 - SMALLEST))
    centered: Table = logs - logs.mean(axis=1, keepdims=True)
    return centered


def softmax(scores: Table) -> Table:
    """Return the probabilities of scores [texts, labels]."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Table = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _read_pool(content: Mapping[str, Any], member_count: int, labels: Sequence[str]) -> Pool:
    weights = np.array(content["weights"], np.float64)
    biases = np.array(content["biases"], np.float64)
    temperature = float(content["temperature"])
    thresholds = {
        label: {rate: float(one[rate]) for rate in FALSE_POSITIVE_RATES}
        for label, one in content["thresholds"].items()
    }
    if weights.shape != (member_count,) or biases.shape != (len(labels),):
        raise ValueError(f"{weights.size} weights for {member_count} members")
    if not np.isfinite([*weights, *biases]).all() or not 0 < temperature < np.inf:
        raise ValueError("a weight, bias or temperature that is no number")
    if set(thresholds) != set(labels):
        raise ValueError("thresholds of other labels")
    return Pool(weights=weights, biases=biases, temperature=temperature, thresholds=thresholds)
