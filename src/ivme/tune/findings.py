"""Losses and their bounds: what the quality gate finds, one function for each way to judge."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING

from ivme.engines.protocol import Prediction
from ivme.tune.bounds import drop_bound, mean_bound, share_bound

if TYPE_CHECKING:
    import numpy as np

MOST_ANCHORS = 1000  # texts whose similarities to each other are ranked: the square is computed
LEAST_RANKED = 30  # texts: of fewer, orders that are all kept say little of others
_BOOTSTRAP_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A loss and its bound at so many texts of the same rates."""

    metric: str
    loss: float
    value: float
    bound: Callable[[float], float]  # of so many texts
    reference: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)


def share_scale(differing: int, texts: int) -> Callable[[float], float]:
    """Return the bound of a share seen as `differing` in `texts`."""
    return lambda count: share_bound(math.ceil(differing * count / texts - 1e-9), int(count))


def drop_scale(lost: int, won: int, texts: int) -> Callable[[float], float]:
    """Return the bound of a drop seen as `lost` and `won` in `texts`."""
    return lambda count: drop_bound(lost * count / texts, won * count / texts, count)


def share_findings(metric: str, differing: int, texts: int) -> Findings:
    """Return the share of texts with another answer."""
    return Findings(
        metric=metric,
        loss=differing / texts,
        value=1 - differing / texts,
        bound=share_scale(differing, texts),
        details={"differing_texts": differing},
    )


def accuracy_findings(
    labels: Sequence[str],
    reference: Sequence[str | None],
    variant: Sequence[str | None],
    details: Mapping[str, float],
) -> Findings:
    """Return the drop of the accuracy, paired."""
    was = [one == label for one, label in zip(reference, labels, strict=True)]
    now = [one == label for one, label in zip(variant, labels, strict=True)]
    lost = sum(before and not after for before, after in zip(was, now, strict=True))
    won = sum(after and not before for before, after in zip(was, now, strict=True))
    texts = len(labels)
    return Findings(
        metric="accuracy",
        loss=(lost - won) / texts,
        reference=sum(was) / texts,
        value=sum(now) / texts,
        bound=drop_scale(lost, won, texts),
        details={**details, "lost_texts": lost, "won_texts": won},
    )


def perplexity_findings(
    log_likelihoods: Sequence[float], rises: Sequence[float], details: Mapping[str, float]
) -> Findings:
    """Return the loss exp(mean rise of nats a token) - 1, and its bound from that of the mean."""
    count, center, bound = len(rises), mean(rises), mean_bound(rises)
    reference = math.exp(-mean(log_likelihoods))
    return Findings(
        metric="perplexity",
        loss=math.expm1(center),
        reference=reference,
        value=reference * math.exp(center),
        # The distance from mean to bound shrinks with the square root of the texts.
        bound=lambda texts: math.expm1(center + (bound - center) * math.sqrt(count / texts)),
        details=details,
    )


def f1_findings(
    labels: Sequence[str],
    reference: Sequence[str | None],
    variant: Sequence[str | None],
    details: Mapping[str, float],
) -> Findings:
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
    return Findings(
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


def rank_findings(theirs: Sequence[Prediction], ours: Sequence[Prediction]) -> Findings:
    """Return 1 - Spearman's correlation of each text's similarities to all others, on average."""
    import numpy as np

    before, after = (
        np.stack([_unit(one.vector) for one in some]).astype(np.float64) for some in (theirs, ours)
    )
    cosines = (before * after).sum(axis=1)
    before, after = before[:MOST_ANCHORS], after[:MOST_ANCHORS]
    ranks = [_ranks(vectors @ vectors.T) for vectors in (before, after)]
    losses = (1 - _row_correlations(*ranks)).tolist() if len(before) > 2 else []
    details = {"mean_cosine": float(cosines.mean()), "least_cosine": float(cosines.min())}
    return _ranking(losses, details)


def _ranking(losses: Sequence[float], details: Mapping[str, float]) -> Findings:
    """Return findings of the losses of texts in how they lie to all others."""
    loss = mean(losses) if losses else 1.0
    bound, count = mean_bound(losses), len(losses)
    return Findings(
        metric="rank agreement",
        loss=loss,
        value=1 - loss,
        # The distance from loss to bound shrinks with the square root of the texts.
        bound=lambda texts: (
            math.inf if texts < LEAST_RANKED else loss + (bound - loss) * math.sqrt(count / texts)
        ),
        details=details,
    )


def order_findings(theirs: Sequence[Prediction], ours: Sequence[Prediction]) -> Findings:
    """Return 1 - rank agreement of single scores: of each text, the share of others passed by.

    Probabilities are compared as they are: where they round to the same float32, both ways to
    order them count as kept.
    """
    import numpy as np

    before, after = (
        np.array([float(one.probabilities[0]) for one in some[:MOST_ANCHORS]])  # type: ignore[index]
        for some in (theirs, ours)
    )
    orders = [np.sign(scores[:, None] - scores[None, :]) for scores in (before, after)]
    is_turned = orders[0] * orders[1] < 0
    losses = (is_turned.sum(axis=1) / max(1, len(before) - 1)).tolist() if len(before) > 1 else []
    return _ranking(losses, {})


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
