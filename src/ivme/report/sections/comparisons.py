"""Comparisons: findings in words, the forest of ratios, and the run of the blocks."""

from collections import Counter
from statistics import median

from ivme.measure.records import Comparison, Record
from ivme.report.charts.specifications import Chart, Effect, ForestChart, SequenceChart
from ivme.report.document import Block, KeyFigure, Note, Paragraph, Plots, Section, Table
from ivme.report.formatting import format_interval, format_percent
from ivme.report.sections.tables import build_table, number_column, text_column
from ivme.report.wording import (
    comparison_sentence,
    control_sentence,
    interval_text,
    names_of,
    ratio_text,
    speedup,
    speedup_interval,
    times_text,
)

_MOST_SEQUENCES = 5
_MOST_LEADS = 3  # sentences on top; more are counted instead


def comparison_findings(record: Record) -> list[Block]:
    """Return what the comparisons found, in words, and what weakens it."""
    comparisons = record.comparisons
    if len(comparisons) > _MOST_LEADS:
        blocks: list[Block] = [Paragraph(text=_tally(comparisons), is_lead=True)]
    else:
        blocks = [Paragraph(text=comparison_sentence(one), is_lead=True) for one in comparisons]
    for one in comparisons:
        is_unclean = one.control_is_clean is False
        texts = one.notes or ((control_sentence(one),) if is_unclean else ())
        word = "Warning" if is_unclean else "Note"
        names = names_of(one)
        where = f"{names.point or names.variant}: " if len(comparisons) > 1 else ""
        blocks.extend(Note(text=f"{where}{t}", word=word, is_warning=is_unclean) for t in texts)
    return list(dict.fromkeys(blocks))


def comparison_figures(record: Record) -> list[KeyFigure]:
    """Return the speedups as key figures; the extremes where there are many."""
    comparisons = record.comparisons
    if len(comparisons) > _MOST_LEADS:
        ordered = sorted(comparisons, key=lambda one: one.ratio)
        comparisons = (ordered[0], ordered[-1])
    return list(map(_key_figure, comparisons))


def _tally(comparisons: tuple[Comparison, ...]) -> str:
    """Return how often each verdict came out."""
    pairs = {(names_of(one).variant, names_of(one).baseline) for one in comparisons}
    of = ""
    if len(pairs) == 1:
        of = " of {} with {}".format(*next(iter(pairs)))
    counts = Counter(one.verdict for one in comparisons)
    tally = ", ".join(f"{verdict} in {count}" for verdict, count in counts.most_common())
    return f"{len(comparisons)} paired comparisons{of}: {tally}."


def comparison_section(record: Record) -> Section | None:
    """Return the forest of ratios, the ratio over the run, and the table."""
    comparisons = record.comparisons
    if not comparisons:
        return None
    charts: tuple[Chart, ...] = (_forest(comparisons), *_sequences(comparisons))
    controls = (Paragraph(text=text) for text in _control_sentences(comparisons))
    return Section(
        title="Paired comparison", blocks=(Plots(charts=charts), _table(comparisons), *controls)
    )


def _control_sentences(comparisons: tuple[Comparison, ...]) -> list[str]:
    """Return what the A/A controls found; the clean ones of many in one sentence."""
    ran = [one for one in comparisons if one.control_is_clean is not None]
    if len(ran) > 1 and all(one.control_is_clean for one in ran):
        return [f"All {len(ran)} A/A controls, of a baseline against itself, are clean."]
    return [sentence for one in ran if (sentence := control_sentence(one))]


def _key_figure(comparison: Comparison) -> KeyFigure:
    names, verdict = names_of(comparison), comparison.verdict
    is_decided = verdict in ("faster", "slower")
    point = f"{names.point}; " if names.point else ""
    relation = f"{verdict} than" if is_decided else "times as fast as"
    return KeyFigure(
        value=f"{times_text(comparison)}×",  # noqa: RUF001 - the sign for times
        label=f"{names.variant} {relation} {names.baseline}",
        detail=f"{point}95% interval {interval_text(comparison)}; verdict: {verdict}",
    )


def _forest(comparisons: tuple[Comparison, ...]) -> ForestChart:
    margin = max(one.equivalence_margin for one in comparisons)
    baselines = {names_of(one).baseline for one in comparisons}
    baseline = baselines.pop() if len(baselines) == 1 else "its baseline"
    labels = _labels(comparisons)
    return ForestChart(
        title="Times as fast",
        description=f"95% intervals; inside the shaded {format_percent(margin)} a difference "
        "counts as none. Gray: the A/A control.",
        x_label=f"times as fast as {baseline}",
        band=(1 / (1 + margin), 1 + margin),
        effects=tuple(map(_effect, comparisons, labels)),
    )


def _labels(comparisons: tuple[Comparison, ...]) -> list[str]:
    """Return what tells the comparisons apart: the variant, the sweep point, or both."""
    names = [names_of(one) for one in comparisons]
    points = [one.point for one in names]
    if len(set(points)) == len(points) > 1 and len({one.variant for one in names}) == 1:
        return points
    variants = [one.variant for one in names]
    return variants if len(set(variants)) == len(variants) else [one.variant for one in comparisons]


def _effect(comparison: Comparison, label: str) -> Effect:
    interval, control = speedup_interval(comparison.interval), comparison.control_interval
    return Effect(
        label=f"{label}: {comparison.verdict}",
        value=speedup(comparison),
        interval=interval,
        text=f"{ratio_text(comparison)} ({format_interval(interval)})",
        verdict=comparison.verdict,
        control=speedup_interval(control) if control else None,
    )


def _sequences(comparisons: tuple[Comparison, ...]) -> list[SequenceChart]:
    charts = []
    labels = _labels(comparisons)
    for one, label in list(zip(comparisons, labels, strict=True))[:_MOST_SEQUENCES]:
        values = block_speedups(one)
        if len(values) > 1:
            charts.append(
                SequenceChart(
                    title=f"Block by block: {label}",
                    description=f"Against {names_of(one).baseline}, one dot a block; "
                    "shaded: the interval.",
                    x_label="block, in the order run",
                    y_label="times as fast",
                    values=values,
                    interval=speedup_interval(one.interval),
                )
            )
    return charts


def block_speedups(comparison: Comparison) -> tuple[float, ...]:
    """Return baseline time over variant time of every block that holds both."""
    values = []
    for block in comparison.blocks:
        seconds = block["seconds"]
        base, other = (
            [one for one in seconds.get(name, ()) if one is not None]
            for name in (comparison.baseline, comparison.variant)
        )
        if base and other:
            values.append(median(base) / median(other))
    return tuple(values)


def _table(comparisons: tuple[Comparison, ...]) -> Table:
    return build_table(
        "All comparisons",
        [
            text_column("Variant", (one.variant for one in comparisons)),
            text_column("Baseline", (one.baseline for one in comparisons)),
            text_column("Verdict", (one.verdict for one in comparisons)),
            number_column("Times as fast", map(ratio_text, comparisons)),
            number_column(
                "95% interval",
                (format_interval(speedup_interval(one.interval)) for one in comparisons),
            ),
            number_column("Blocks", (str(len(one.blocks)) for one in comparisons)),
            number_column("Threads", (str(one.threads or "") for one in comparisons)),
            text_column("Stopped by", (one.stopped_by for one in comparisons)),
            text_column("Outliers, kept", map(_outliers, comparisons)),
            text_column("A/A control", map(_control_state, comparisons)),
        ],
    )


def _outliers(comparison: Comparison) -> str:
    """Return how many samples of variant and baseline were outliers."""
    both = [comparison.outliers.get(name, {}) for name in (comparison.variant, comparison.baseline)]
    mild, severe = (sum(one.get(name, 0) for one in both) for name in ("mild", "severe"))
    return f"{mild} mild, {severe} severe"


def _control_state(comparison: Comparison) -> str:
    if comparison.control_interval is None:
        return ""
    return "clean" if comparison.control_is_clean else "not clean"
