"""Bounds: how large a loss may be in truth, given what a limited number of texts shows.

All bounds are one-sided and hold at `LEVEL`: a gate asks how bad it can be, never how good. They
say something even where nothing went wrong: no disagreement in n texts bounds the true share at
about 3 / n.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist, mean, stdev

LEVEL = 0.95
MOST_TEXTS = 100_000_000  # beyond this nobody gathers texts for a gate
_BISECTIONS = 60


def share_bound(count: int, texts: int, level: float = LEVEL) -> float:
    """Return the exact upper bound of a share of which `count` in `texts` were seen.

    Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    from scipy.special import betaincinv

    return 1.0 if count >= texts else float(betaincinv(count + 1, texts - count, level))


def drop_bound(lost: float, won: float, texts: float, level: float = LEVEL) -> float:
    """Return the upper bound of (lost - won) / texts in truth, for paired yes-or-no answers.

    lost: texts that the reference alone has right; won: that the variant alone has right. The
    score interval: unlike the usual one it has a width where nobody won or lost. Source: Tango,
    Statistics in Medicine 17 (1998).
    """
    z = NormalDist().inv_cdf(level)

    def is_plausible(drop: float) -> bool:
        half = -lost - won + (2 * texts - lost + won) * drop
        root = math.sqrt(max(0.0, half * half + 8 * texts * won * drop * (1 - drop)))
        won_share = (root - half) / (4 * texts)
        variance = texts * (2 * won_share + drop * (1 - drop))
        return texts * drop - lost + won < z * math.sqrt(max(variance, 0.0))

    return _bisect(is_plausible, max(0.0, (lost - won) / texts), 1.0)


def mean_bound(values: Sequence[float], level: float = LEVEL) -> float:
    """Return the upper bound of the mean of losses that are mostly small and now and then large.

    Student's bound, widened by the skewness of the values: from a hundred values on it holds
    nearly as often as it says. Infinite for fewer than two. Source: Johnson, Journal of the
    American Statistical Association 73 (1978).
    """
    from scipy.special import stdtrit

    count = len(values)
    if count < 2:
        return math.inf
    center, spread = mean(values), stdev(values)
    if spread == 0:
        return center
    skewness = sum((one - center) ** 3 for one in values) / count / spread**3
    t = float(stdtrit(count - 1, level))
    widening = max(0.0, skewness) * (1 + 2 * t * t) / (6 * math.sqrt(count))
    return center + (t + widening) * spread / math.sqrt(count)


def texts_needed(bound: Callable[[float], float], budget: float, texts: int) -> int | None:
    """Return with how many texts the bound would be within the budget, None if with no number.

    bound: of so many texts at the rates seen in `texts`.
    """
    low, high = texts, texts
    while bound(high) > budget:
        low, high = high, 2 * high
        if high > MOST_TEXTS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(middle) <= budget else (middle, high)
    return high


def _bisect(is_below: Callable[[float], bool], low: float, high: float) -> float:
    """Return where `is_below` turns from true to false."""
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return high
