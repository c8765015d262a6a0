"""The finals: from contenders to the chosen variant, and the evidence that is kept of it.

Rounds of turns, of which half leaves after each; a paired comparison with the runner-up, which
decides; then one with the baseline, memory, and the quality of those that were too slow. One that
fails on the way leaves, and the next takes its place.
"""

from collections.abc import Sequence

from ivme.measure.compare import ComparePlan
from ivme.measure.records import Comparison
from ivme.measure.verdict import blocks_needed
from ivme.tune.contest import Contest, ratio_of, text_s_of
from ivme.tune.entries import Entry
from ivme.tune.material import spread_by_length
from ivme.tune.space import first_batching, is_reference
from ivme.tune.steps import VariantFailed

HALVE_UNTIL = 0.85  # of the budget
FIRST_ROUNDS = 4  # of the races that halve


def decide(contest: Contest, contenders: list[Entry]) -> None:
    """Halve the contenders to two, and let these two meet."""
    rounds = FIRST_ROUNDS
    ranked = _within_memory(contest, sorted(contenders, key=ratio_of))
    while len(ranked) > 2:
        rounds = contest.affordable_rounds(ranked, rounds, HALVE_UNTIL)
        if rounds == 0:
            break
        contest.listener.tell(f"{len(ranked)} in the race")
        ran = sorted(contest.race(ranked, rounds), key=ratio_of)
        ranked, rounds = ran[: max(2, len(ran) // 2)], 2 * rounds
    while pair := _confirmed(contest, [one for one in ranked if one.status != "refused"]):
        winner = _meet(contest, *pair) if len(pair) == 2 else pair[0]
        if winner is not None and _is_chosen(contest, winner):
            break
    else:
        return
    _tell_phases(contest, winner)
    others = [one for one in (*pair, contest.baseline) if one is not winner]
    _measure_memory(contest, [winner, *others], is_needed=False)
    _judge_rest(contest)


def _is_chosen(contest: Contest, winner: Entry) -> bool:
    """Choose the winner, and let it meet the baseline; return False if it fails there."""
    contest.chosen, contest.decided_s = winner, contest.spent_s()
    contest.update(winner, "chosen")
    if not winner.is_baseline:
        _meet_baseline(contest, winner)
    if winner.status == "refused":
        contest.chosen = contest.decided_s = None
    return contest.chosen is not None


def _confirmed(contest: Contest, ranked: Sequence[Entry]) -> list[Entry]:
    """Return the two fastest that keep quality with the batches and padding they ended with.

    If none of them does, the fastest that did when it was judged first.
    """
    first = first_batching(contest.config.objective)
    confirmed = []
    for entry in ranked:
        is_judged = entry.variant.batching == first or is_reference(entry.variant)
        if is_judged or contest.keeps_quality(entry):
            confirmed.append(entry)
        if len(confirmed) == 2:
            return confirmed
    judged = [
        one
        for one in contest.entries
        if one.is_accepted and one.variant.batching == first and one.status != "refused"
    ]
    return confirmed or _within_memory(contest, sorted(judged, key=ratio_of))[:1]


def _meet(contest: Contest, first: Entry, second: Entry) -> Entry | None:
    """Compare the two fastest, paired; return the faster one, or None if one of them failed."""
    contest.listener.tell(f"final: {first.label} and {second.label}")
    contest.steps.sessions.keep_only((first.variant, second.variant, contest.baseline.variant))
    comparison = _compare(contest, first, second, contest.texts, 0.4)
    if comparison is None:
        return None
    contest.raced.append([first, second])
    winner, loser = (first, second) if comparison.ratio <= 1 else (second, first)
    contest.comparisons.append(comparison)
    contest.listener.found(comparison)
    contest.update(loser, "runner-up", _verdict_sentence(comparison))
    return winner


def _meet_baseline(contest: Contest, winner: Entry) -> None:
    contest.listener.tell(f"{winner.label} and the baseline")
    comparison = _compare(contest, winner, contest.baseline, contest.sample, 0.7)
    if comparison is None:
        return
    _move_with(winner, comparison.ratio / ratio_of(winner), contest.raced)
    winner.interval = None
    if len(comparison.blocks) >= blocks_needed():
        winner.interval = comparison.interval
    contest.comparisons.insert(0, comparison)
    contest.listener.found(comparison)
    contest.update(winner, "chosen")


def _move_with(winner: Entry, factor: float, races: Sequence[Sequence[Entry]]) -> None:
    """Correct ratio and interval of the winner, and of those that raced with it."""
    beside = [one for race in races if any(other is winner for other in race) for one in race]
    for one in {id(one): one for one in (winner, *beside) if not one.is_baseline}.values():
        one.ratio = factor * ratio_of(one)
        if one.interval is not None:
            one.interval = (factor * one.interval[0], factor * one.interval[1])


def _compare(
    contest: Contest, entry: Entry, other: Entry, texts: Sequence[str], share: float
) -> Comparison | None:
    """Compare two entries, paired, in that share of what is left; None if one of them fails.

    On fewer texts where the blocks that a verdict takes would need more time.
    """
    budget_s = max(share * contest.left_s(), 0.001)
    blocks = blocks_needed(len(ComparePlan().looks)) + 1
    text_s = text_s_of(entry) * (blocks + 4) + text_s_of(other) * (2 * blocks + 4)
    few = spread_by_length(texts, max(1, min(len(texts), int(budget_s / text_s))))
    try:
        return contest.steps.compare(entry.variant, other.variant, few, budget_s)
    except VariantFailed as error:
        contest.update(entry if error.label == entry.label else other, "refused", str(error))
        return None


def _judge_rest(contest: Contest) -> None:
    """Judge those that were too slow as well, as far as the budget goes: for the picture."""
    rest = [one for one in contest.entries if one.status == "slower" and one.quality is None]
    for entry in sorted(rest, key=ratio_of):
        needed_s = contest.steps.sessions.estimate_s(entry.variant)
        needed_s += contest.judged_texts * text_s_of(entry)
        if 2 * needed_s > contest.left_s():
            continue
        contest.listener.tell(f"judging {entry.variant.name} on {contest.judged_texts} texts")
        facts = contest.steps.judge(entry.variant, contest.judged_texts)
        entry.quality = facts.get("quality")
        contest.update(entry, entry.status)
        contest.steps.sessions.keep_only((contest.baseline.variant,))


def _tell_phases(contest: Contest, winner: Entry) -> None:
    """Say which variants read and write fastest, where these need not be the same."""
    if not winner.phases and contest.left_s() > 0:
        winner.phases = contest.steps.phases(winner.variant, winner.texts, winner.samples_s)
    timed = [one for one in contest.entries if one.phases and one.is_accepted]
    for name, what in (
        ("first_token_s", "until the first token"),
        ("next_token_s", "for each later one"),
    ):
        if timed:
            best = min(timed, key=lambda one: one.phases[name])
            contest.notes.append(
                f"of those that keep quality, {best.variant.name} is fastest {what}: "
                f"{1000 * best.phases[name]:.3g} ms"
            )


def _within_memory(contest: Contest, ranked: list[Entry]) -> list[Entry]:
    """Return those within the memory limit, measured alone; all where there is no limit."""
    limit = contest.config.max_memory_bytes
    if limit is None:
        return ranked
    kept = []
    for entry in ranked:
        _measure_memory(contest, [entry], is_needed=True)
        if entry.peak_memory_bytes is not None and entry.peak_memory_bytes <= limit:
            kept.append(entry)
        else:
            size = entry.peak_memory_bytes
            found = "cannot be told" if size is None else f"is {size / 1e6:,.0f} MB"
            contest.update(entry, "too large", f"peak memory {found}: {limit / 1e6:,.0f} allowed")
    return kept


def _measure_memory(contest: Contest, entries: Sequence[Entry], *, is_needed: bool) -> None:
    """Measure those that have no figure yet; unless it is needed, only while time is left."""
    took_s = 0.0
    for one in entries:
        if one.peak_memory_bytes is not None or (not is_needed and contest.left_s() <= took_s):
            continue
        contest.listener.tell(f"memory of {one.label}")
        before_s = contest.spent_s()
        one.peak_memory_bytes = contest.measure_memory(one.variant)
        took_s = contest.spent_s() - before_s
        contest.update(one, one.status)


def _verdict_sentence(comparison: Comparison) -> str:
    verdict = {"faster": "slower"}.get(comparison.verdict, comparison.verdict)
    return f"beside the chosen one: {verdict}"
