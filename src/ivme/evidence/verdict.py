"""Verdicts: a measured figure against what was claimed.

"at least" (speed, savings): holds if the estimate reaches the claimed range, widened by its
margin, and the whole interval shows an effect; partly if the interval shows an effect that is
smaller than claimed; else it does not hold. More than claimed holds. "about" and "at most": holds
if the estimate lies in the widened range, or not above it. Estimates decide, because they scatter
less from run to run than the ends of intervals do; a figure whose interval contains one of the
limits, or that is not to be trusted, is marked as close, and another run may judge it otherwise.
"""

from dataclasses import dataclass

from ivme.evidence.figure import Figure
from ivme.evidence.ledger import Claimed

HOLDS, PARTLY, FAILS, UNTESTED = "holds", "partly", "does not hold", "cannot be tested here"
VERDICTS = (HOLDS, PARTLY, FAILS, UNTESTED)
NO_EFFECT = {"ratio": 1.0}  # of the other kinds: 0
# The smallest change that counts as an effect: 5% in time, 5 points, a twentieth of the claim.
LEAST_EFFECT = {"ratio": 0.05, "percent": 5.0}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a figure says about a claim."""

    word: str  # one of VERDICTS
    is_close: bool = False  # the interval contains a limit, or there is no trusting the figure


def judge(claimed: Claimed, figure: Figure) -> Verdict:
    """Return the verdict that the figure gives on the claim."""
    if claimed.direction == "at least":
        goal, floor = goal_of(claimed), floor_of(claimed)
        has_effect = figure.low > floor
        word = HOLDS if has_effect and figure.value >= goal else PARTLY if has_effect else FAILS
        limits = [goal, floor]
    else:
        low, high = claimed.low / (1 + claimed.margin), claimed.high * (1 + claimed.margin)
        is_above = claimed.direction == "at most" or figure.value >= low
        word = HOLDS if is_above and figure.value <= high else FAILS
        limits = [high] if claimed.direction == "at most" else [low, high]
    has_limit = any(figure.low <= one <= figure.high for one in limits)
    is_close = not figure.is_counted and (has_limit or figure.note is not None)
    return Verdict(word=word, is_close=is_close)


def goal_of(claimed: Claimed) -> float:
    """Return what an effect must reach: the low end of the claim, widened towards no effect."""
    none = NO_EFFECT.get(claimed.kind, 0.0)
    return none + (claimed.low - none) / (1 + claimed.margin)


def floor_of(claimed: Claimed) -> float:
    """Return what the interval must lie above to show an effect at all."""
    none = NO_EFFECT.get(claimed.kind, 0.0)
    effect = claimed.low - none
    return none + min(LEAST_EFFECT.get(claimed.kind, effect / 20), effect / 2)
