"""The quality gate: what a variant loses against the float32 reference, and how sure that is.

A variant passes only if the upper bound of its loss (bounds.py) is within the budget. What a loss
is depends on what there is to judge by:

  labels              drop of accuracy, or of macro F1
  classifier, masks   share of texts with another answer; of independent labels, another set
  a single score      1 - rank agreement: how each text's score lies to those of all others
  embeddings          1 - rank agreement: how each text orders all others by similarity
  causal models       rise of the perplexity, as a share, of each text's own last tokens
  generated text      share of texts that are not generated exactly alike, without it
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ivme.engines.protocol import Prediction
from ivme.errors import UsageError
from ivme.models.kinds import GENERATING
from ivme.tune.bounds import texts_needed
from ivme.tune.findings import (
    LEAST_RANKED,
    Findings,
    accuracy_findings,
    drop_scale,
    f1_findings,
    order_findings,
    perplexity_findings,
    rank_findings,
    share_findings,
    share_scale,
)

METRICS = ("accuracy", "f1")  # of a classifier, where labels are given
YES = 0.5  # the least probability at which an independent label holds


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What a variant loses, of at most 1, and the bound that the gate looks at."""

    metric: str  # accuracy, macro F1, agreement, rank agreement, perplexity, exact match
    texts: int
    loss: float
    loss_bound: float  # 95%, one-sided
    budget: float
    reference: float | None = None  # the metric of the reference, where there are labels
    value: float  # the metric of the variant
    texts_needed: int | None = None  # for the bound to be within the budget at this loss
    is_judged: bool = True  # False on random weights: reported, and nothing is decided by it
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_accepted(self) -> bool:
        """Whether the variant may be chosen."""
        return not self.is_judged or self.loss_bound <= self.budget

    def as_facts(self) -> dict[str, Any]:
        """Return the quality as a record keeps it."""
        return {**asdict(self), "is_accepted": self.is_accepted}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Judges predictions against those of the reference on the same texts.

    budget: the most that may be lost, 0.005 for half a percent or half a point. labels: the truth
    in the model's own names. has_independent_labels: each label is a yes or no of its own, as of
    `answers.has_independent_labels`. is_judged: False on random weights.

    Raises:
        UsageError: a metric or a budget that is not allowed, labels for a model without labels.
    """

    kind: str
    reference: Sequence[Prediction]
    budget: float
    labels: Sequence[str] | None = None
    metric: str = "accuracy"
    has_independent_labels: bool = False
    is_judged: bool = True

    def __post_init__(self) -> None:
        check_metric(
            self.metric,
            self.kind,
            has_labels=self.labels is not None,
            has_independent_labels=self.has_independent_labels,
        )
        check_budget(self.budget)

    def judge(self, predictions: Sequence[Prediction]) -> Quality:
        """Return the quality of predictions on the reference's texts, or on the first of them."""
        count = len(predictions)
        if self.labels is not None:
            findings = self._with_labels(predictions, self.reference[:count], self.labels[:count])
        elif self.kind == "embedding":
            findings = rank_findings(self.reference[:count], predictions)
        elif all(one.log_likelihood is not None for one in (*self.reference, *predictions)):
            findings = self._perplexity(predictions, self.reference[:count])
        elif self.has_independent_labels and _is_single_score(predictions):
            findings = order_findings(self.reference[:count], predictions)
        else:
            findings = self._agreement(predictions, self.reference[:count])
        details = {**findings.details, **_probability_changes(self.reference, predictions)}
        return Quality(
            metric=findings.metric,
            texts=count,
            loss=findings.loss,
            loss_bound=findings.bound(count),
            budget=self.budget,
            reference=findings.reference,
            value=findings.value,
            texts_needed=texts_needed(findings.bound, self.budget, count),
            is_judged=self.is_judged,
            details=details,
        )

    def is_hopeless(self, predictions: Sequence[Prediction]) -> bool:
        """Return whether the first predictions already show that the gate will be missed.

        True if, at the loss seen so far, not even the bound of all the texts would do, and the
        loss is more than twice the budget.
        """
        if not self.is_judged:
            return False
        quality = self.judge(predictions)
        needed = quality.texts_needed
        is_out_of_reach = needed is None or needed > len(self.reference)
        return is_out_of_reach and quality.loss > 2 * self.budget and quality.texts >= 50

    def _agreement(self, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> Findings:
        pairs = zip(ours, theirs, strict=True)
        differing = sum(self._answer(one) != self._answer(other) for one, other in pairs)
        is_generated = self.kind in GENERATING
        return share_findings("exact match" if is_generated else "agreement", differing, len(ours))

    def _answer(self, prediction: Prediction) -> object:
        """Return what has to be the same: a text, a label, or which of the labels hold."""
        if prediction.label is None:
            return prediction.text
        if not self.has_independent_labels or prediction.probabilities is None:
            return prediction.label
        return tuple((prediction.probabilities >= YES).tolist())

    def _perplexity(self, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> Findings:
        """Return the rise of the perplexity: of the mean over texts, as texts were drawn."""
        same = sum(one.text == other.text for one, other in zip(ours, theirs, strict=True))
        before, after = ([one.log_likelihood or 0.0 for one in some] for some in (theirs, ours))
        rises = [was - now for was, now in zip(before, after, strict=True)]
        return perplexity_findings(before, rises, {"exact_match": same / len(ours)})

    def _with_labels(
        self, ours: Sequence[Prediction], theirs: Sequence[Prediction], labels: Sequence[str]
    ) -> Findings:
        mine, reference = [one.label for one in ours], [one.label for one in theirs]
        agreement = sum(a == b for a, b in zip(mine, reference, strict=True)) / len(mine)
        if self.metric == "f1":
            return f1_findings(labels, reference, mine, {"agreement": agreement})
        return accuracy_findings(labels, reference, mine, {"agreement": agreement})


def check_metric(
    metric: str, kind: str, *, has_labels: bool, has_independent_labels: bool = False
) -> None:
    """Raise UsageError unless models of the kind can be judged by the metric."""
    if metric not in METRICS:
        raise UsageError(f"metric={metric!r}; expected one of {', '.join(METRICS)}")
    if has_labels and kind != "classifier":
        raise UsageError(
            f"labels were given, and the model is no classifier but of kind {kind!r}; leave the "
            "labels out to judge it by its answers"
        )
    if has_labels and has_independent_labels:
        raise UsageError(
            "labels were given, one a text, and the model answers yes or no for each label; leave "
            "the labels out to judge it by its answers"
        )
    if metric != "accuracy" and not has_labels:
        raise UsageError(f"metric={metric!r} needs labels; name the column that has them")


def check_budget(budget: float) -> None:
    """Raise UsageError unless the budget is a share."""
    if not 0 <= budget <= 1:
        raise UsageError(f"a quality loss of {budget}; expected 0 to 1, or 0% to 100%")


def least_texts(
    kind: str, budget: float, *, has_labels: bool, is_ranking: bool = False
) -> int | None:
    """Return how many texts it takes to pass when nothing at all is lost; None: no number does.

    is_ranking: the model gives single scores, whose order is judged.
    """
    if kind == "embedding" or is_ranking:
        return LEAST_RANKED
    if kind == "causal":
        return 2
    bound = drop_scale(0, 0, 1) if has_labels else share_scale(0, 1)
    return texts_needed(bound, budget, 1)


def _is_single_score(predictions: Sequence[Prediction]) -> bool:
    """Return whether the model has one label: which one is largest says nothing."""
    return all(one.probabilities is not None and len(one.probabilities) == 1 for one in predictions)


def _probability_changes(
    theirs: Sequence[Prediction], ours: Sequence[Prediction]
) -> dict[str, float]:
    """Return how far probabilities moved; nothing for models without."""
    import numpy as np

    if not ours or ours[0].probabilities is None:
        return {}
    before = np.array([one.probabilities for one in theirs[: len(ours)]], dtype=np.float64)
    after = np.array([one.probabilities for one in ours], dtype=np.float64)
    tiny = 1e-12
    divergence = (before * np.log((before + tiny) / (after + tiny))).sum(axis=1)
    return {
        "max_probability_change": float(np.abs(before - after).max()),
        "mean_kl": float(np.maximum(divergence, 0).mean()),
    }
