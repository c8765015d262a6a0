"""The quality gate: what a variant loses against the float32 reference, and how sure that is.

A variant passes only if the upper bound of its loss (bounds.py) is within the budget. What a loss
is depends on what there is to judge by:

  labels              drop of accuracy, or of macro F1
  classifier, masks   share of texts with another answer
  embeddings          1 - rank agreement: how each text orders all others by similarity
  causal models       rise of the perplexity, as a share, of each text's own last tokens
  generated text      share of texts that are not generated exactly alike, without it
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean
from typing import TYPE_CHECKING, Any

from ivme.engines.protocol import Prediction
from ivme.errors import UsageError
from ivme.tune.bounds import drop_bound, mean_bound, share_bound, texts_needed

if TYPE_CHECKING:
    import numpy as np

METRICS = ("accuracy", "f1")  # of a classifier, where labels are given
MOST_ANCHORS = 1000  # texts whose similarities to each other are ranked: the square is computed
_BOOTSTRAP_RESAMPLES = 2000


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
    in the model's own names. is_judged: False on random weights.

    Raises:
        UsageError: a metric or a budget that is not allowed, labels for a model without labels.
    """

    kind: str
    reference: Sequence[Prediction]
    budget: float
    labels: Sequence[str] | None = None
    metric: str = "accuracy"
    is_judged: bool = True

    def __post_init__(self) -> None:
        check_metric(self.metric, self.kind, has_labels=self.labels is not None)
        check_budget(self.budget)

    def judge(self, predictions: Sequence[Prediction]) -> Quality:
        """Return the quality of predictions on the reference's texts, or on the first of them."""
        count = len(predictions)
        if self.labels is not None:
            findings = self._with_labels(predictions, self.reference[:count], self.labels[:count])
        elif self.kind == "embedding":
            findings = _rank_findings(self.reference[:count], predictions)
        elif all(one.log_likelihood is not None for one in (*self.reference, *predictions)):
            findings = self._perplexity(predictions, self.reference[:count])
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

    def _agreement(self, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> "_Findings":
        pairs = zip(ours, theirs, strict=True)
        differing = sum(_answer(one) != _answer(other) for one, other in pairs)
        is_generated = self.kind in ("causal", "seq2seq")
        return _share_findings("exact match" if is_generated else "agreement", differing, len(ours))

    def _perplexity(self, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> "_Findings":
        """Return the rise of the perplexity: of the mean over texts, as texts were drawn."""
        same = sum(one.text == other.text for one, other in zip(ours, theirs, strict=True))
        before, after = ([one.log_likelihood or 0.0 for one in some] for some in (theirs, ours))
        rises = [was - now for was, now in zip(before, after, strict=True)]
        return _perplexity_findings(before, rises, {"exact_match": same / len(ours)})

    def _with_labels(
        self, ours: Sequence[Prediction], theirs: Sequence[Prediction], labels: Sequence[str]
    ) -> "_Findings":
        mine, reference = [one.label for one in ours], [one.label for one in theirs]
        agreement = sum(a == b for a, b in zip(mine, reference, strict=True)) / len(mine)
        if self.metric == "f1":
            return _f1_findings(labels, reference, mine, {"agreement": agreement})
        return _accuracy_findings(labels, reference, mine, {"agreement": agreement})


def check_metric(metric: str, kind: str, *, has_labels: bool) -> None:
    """Raise UsageError unless models of the kind can be judged by the metric."""
    if metric not in METRICS:
        raise UsageError(f"metric={metric!r}; expected one of {', '.join(METRICS)}")
    if has_labels and kind != "classifier":
        raise UsageError(
            f"labels were given, and the model is no classifier but of kind {kind!r}; leave the "
            "labels out to judge it by its answers"
        )
    if metric != "accuracy" and not has_labels:
        raise UsageError(f"metric={metric!r} needs labels; name the column that has them")


def check_budget(budget: float) -> None:
    """Raise UsageError unless the budget is a share."""
    if not 0 <= budget <= 1:
        raise UsageError(f"a quality loss of {budget}; expected 0 to 1, or 0% to 100%")


def least_texts(kind: str, budget: float, *, has_labels: bool) -> int | None:
    """Return how many texts it takes to pass when nothing at all is lost; None: no number does."""
    if kind in ("embedding", "causal"):
        return 2
    bound = _drop_scale(0, 0, 1) if has_labels else _share_scale(0, 1)
    return texts_needed(bound, budget, 1)


@dataclass(frozen=True, kw_only=True)
class _Findings:
    """A loss and its bound at so many texts of the same rates."""

    metric: str
    loss: float
    value: float
    bound: Any  # Callable[[float], float]
    reference: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)


def _share_scale(differing: int, texts: int) -> Any:
    return lambda count: share_bound(math.ceil(differing * count / texts - 1e-9), int(count))


def _drop_scale(lost: int, won: int, texts: int) -> Any:
    return lambda count: drop_bound(lost * count / texts, won * count / texts, count)


def _share_findings(metric: str, differing: int, texts: int) -> _Findings:
    return _Findings(
        metric=metric,
        loss=differing / texts,
        value=1 - differing / texts,
        bound=_share_scale(differing, texts),
        details={"differing_texts": differing},
    )


def _accuracy_findings(
    labels: Sequence[str],
    reference: Sequence[str | None],
    variant: Sequence[str | None],
    details: Mapping[str, float],
) -> _Findings:
    was = [one == label for one, label in zip(reference, labels, strict=True)]
    now = [one == label for one, label in zip(variant, labels, strict=True)]
    lost = sum(before and not after for before, after in zip(was, now, strict=True))
    won = sum(after and not before for before, after in zip(was, now, strict=True))
    texts = len(labels)
    return _Findings(
        metric="accuracy",
        loss=(lost - won) / texts,
        reference=sum(was) / texts,
        value=sum(now) / texts,
        bound=_drop_scale(lost, won, texts),
        details={**details, "lost_texts": lost, "won_texts": won},
    )


def _perplexity_findings(
    log_likelihoods: Sequence[float], rises: Sequence[float], details: Mapping[str, float]
) -> _Findings:
    """Return the loss exp(mean rise of nats a token) - 1, and its bound from that of the mean."""
    count, center, bound = len(rises), mean(rises), mean_bound(rises)
    reference = math.exp(-mean(log_likelihoods))
    return _Findings(
        metric="perplexity",
        loss=math.expm1(center),
        reference=reference,
        value=reference * math.exp(center),
        # The distance from mean to bound shrinks with the square root of the texts.
        bound=lambda texts: math.expm1(center + (bound - center) * math.sqrt(count / texts)),
        details=details,
    )


def _f1_findings(
    labels: Sequence[str],
    reference: Sequence[str | None],
    variant: Sequence[str | None],
    details: Mapping[str, float],
) -> _Findings:
    """Return the drop of macro F1, its bound from a paired bootstrap.

    One text of each label that the variant alone has wrong is added to every resample: without
    it, a bootstrap of answers that are all alike has no width at all.
    """
    import numpy as np

    names = sorted(set(labels) | {str(one) for one in (*reference, *variant)})
    truth, before, after = (
        np.array([names.index(str(one)) for one in answers])
        for answers in (labels, reference, variant)
    )
    present = np.unique(truth)
    texts = len(truth)
    weights = np.random.default_rng(0).multinomial(
        texts, np.full(texts, 1 / texts), _BOOTSTRAP_RESAMPLES
    )
    # A pseudo-text of a label counts as a hit of the reference and as a miss of the variant.
    drops = _macro_f1(weights, truth, before, present, hits=1) - _macro_f1(
        weights, truth, after, present, misses=1
    )
    once = np.ones((1, texts))
    scores = [float(_macro_f1(once, truth, one, present)[0]) for one in (before, after)]
    loss, bound = scores[0] - scores[1], float(np.quantile(drops, 0.95))
    return _Findings(
        metric="macro F1",
        loss=loss,
        reference=scores[0],
        value=scores[1],
        # The distance from loss to bound shrinks with the square root of the texts.
        bound=lambda count: loss + (bound - loss) * math.sqrt(texts / count),
        details=details,
    )


def _macro_f1(
    weights: "np.ndarray",
    truth: "np.ndarray",
    answers: "np.ndarray",
    present: "np.ndarray",
    *,
    hits: int = 0,
    misses: int = 0,
) -> "np.ndarray":
    """Return the mean F1 over the labels present, one for each row of weights [R, texts]."""
    import numpy as np

    scores = []
    for label in present:
        right = weights @ ((truth == label) & (answers == label)) + hits
        wrong = weights @ ((truth == label) != (answers == label)) + misses
        scores.append(2 * right / np.maximum(2 * right + wrong, 1e-12))
    return np.mean(scores, axis=0)


def _rank_findings(theirs: Sequence[Prediction], ours: Sequence[Prediction]) -> _Findings:
    """Return 1 - Spearman's correlation of each text's similarities to all others, on average."""
    import numpy as np

    before, after = (
        np.stack([_unit(one.vector) for one in some]).astype(np.float64) for some in (theirs, ours)
    )
    cosines = (before * after).sum(axis=1)
    before, after = before[:MOST_ANCHORS], after[:MOST_ANCHORS]
    ranks = [_ranks(vectors @ vectors.T) for vectors in (before, after)]
    losses = (1 - _row_correlations(*ranks)).tolist() if len(before) > 2 else []
    loss = float(np.mean(losses)) if losses else 1.0
    bound, count = mean_bound(losses), len(losses)
    return _Findings(
        metric="rank agreement",
        loss=loss,
        value=1 - loss,
        bound=lambda texts: loss + (bound - loss) * math.sqrt(max(count, 1) / texts),
        details={"mean_cosine": float(cosines.mean()), "least_cosine": float(cosines.min())},
    )


def _unit(vector: "np.ndarray | None") -> "np.ndarray":
    import numpy as np

    assert vector is not None
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _ranks(similarities: "np.ndarray") -> "np.ndarray":
    """Return for each row the ranks of its entries, the diagonal left out."""
    import numpy as np

    count = len(similarities)
    rest = similarities[~np.eye(count, dtype=bool)].reshape(count, count - 1)
    return rest.argsort(axis=1).argsort(axis=1).astype(np.float64)


def _row_correlations(one: "np.ndarray", other: "np.ndarray") -> "np.ndarray":
    one = one - one.mean(axis=1, keepdims=True)
    other = other - other.mean(axis=1, keepdims=True)
    scale = (one**2).sum(axis=1) * (other**2).sum(axis=1)
    return (one * other).sum(axis=1) / scale**0.5


def _answer(prediction: Prediction) -> str | None:
    return prediction.label if prediction.label is not None else prediction.text


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
