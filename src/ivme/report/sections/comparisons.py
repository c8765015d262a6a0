"""Comparisons: findings in words, the forest of ratios, and the run of the blocks."""

from statistics import median

from ivme.measure.records import Comparison, Record
from ivme.report.charts.specifications import Chart, Effect, ForestChart, SequenceChart
from ivme.report.document import (
    Block,
    KeyFigure,
    Note,
    Paragraph,
    Plots,
    Section,
    Table,
)
from ivme.report.formatting import format_interval, format_percent, format_ratio
from ivme.report.sections.tables import build_table, number_column, text_column
from ivme.report.wording import (
    comparison_sentence,
    control_sentence,
    interval_text,
    ratio_text,
    speedup,
    speedup_interval,
    times_text,
)

_MOST_SEQUENCES = 6


def comparison_findings(record: Record) -> list[Block]:
    """Return what the comparisons found, in words and as key figures."""
    blocks: list[Block] = [
        Paragraph(text=comparison_sentence(one), is_lead=True) for one in record.comparisons
    ]
    for one in record.comparisons:
        sentence = control_sentence(one)
        if sentence and not one.control_is_clean:
            blocks.append(Note(text=sentence, is_warning=True))
        blocks.extend(Note(text=note) for note in one.notes)
    return blocks


def comparison_figures(record: Record) -> list[KeyFigure]:
    """Return the speedups as key figures."""
    return list(map(_key_figure, record.comparisons))


def comparison_section(record: Record) -> Section | None:
    """Return the forest of ratios, the ratio over the run, and the table."""
    if not record.comparisons:
        return None
    charts: tuple[Chart, ...] = (
        _forest(record.comparisons),
        *_sequences(record.comparisons),
    )
    controls = [sentence for one in record.comparisons if (sentence := control_sentence(one))]
    return Section(
        title="Paired comparison",
        blocks=(
            Plots(charts=charts),
            _table(record.comparisons),
            *(Paragraph(text=sentence) for sentence in dict.fromkeys(controls)),
        ),
    )


def _key_figure(comparison: Comparison) -> KeyFigure:
    variant, baseline, verdict = comparison.variant, comparison.baseline, comparison.verdict
    is_decided = verdict in ("faster", "slower")
    relation = f"{verdict} than" if is_decided else "times as fast as"
    return KeyFigure(
        value=f"{times_text(comparison)}×",  # noqa: RUF001 - the sign for times
        label=f"{variant} {relation} {baseline}",
        detail=f"95% interval {interval_text(comparison)}; verdict: {verdict}",
    )


def _forest(comparisons: tuple[Comparison, ...]) -> ForestChart:
    margin = max(one.equivalence_margin for one in comparisons)
    return ForestChart(
        title="Times as fast",
        description=f"With 95% intervals; differences inside the shaded {format_percent(margin)} "
        "count as none.",
        x_label=f"times as fast as {_shared_baseline(comparisons)}",
        band=(1 / (1 + margin), 1 + margin),
        effects=(*map(_effect, comparisons), *_control_effects(comparisons)),
    )


def _shared_baseline(comparisons: tuple[Comparison, ...]) -> str:
    baselines = {one.baseline for one in comparisons}
    return baselines.pop() if len(baselines) == 1 else "its baseline"


def _effect(comparison: Comparison) -> Effect:
    interval = speedup_interval(comparison.interval)
    return Effect(
        label=f"{comparison.variant}: {comparison.verdict}",
        value=speedup(comparison),
        interval=interval,
        text=f"{ratio_text(comparison)} ({format_interval(interval)})",
        tone=comparison.verdict,
    )


def _control_effects(comparisons: tuple[Comparison, ...]) -> list[Effect]:
    effects = {}
    for one in comparisons:
        if one.control_interval is None:
            continue
        low, high = speedup_interval(one.control_interval)
        state = "clean" if one.control_is_clean else "not clean"
        effects[one.baseline, low, high] = Effect(
            label=f"A/A control: {state}",
            value=(low * high) ** 0.5,
            interval=(low, high),
            text=format_interval((low, high)),
            tone="control",
        )
    return list(effects.values())


def _sequences(comparisons: tuple[Comparison, ...]) -> list[SequenceChart]:
    charts = []
    for one in comparisons[:_MOST_SEQUENCES]:
        values = block_speedups(one)
        if len(values) > 1:
            charts.append(
                SequenceChart(
                    title=f"Block by block: {one.variant}",
                    description=f"Against {one.baseline}, one dot a block; shaded: the interval.",
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
            number_column(
                "Ratio of times", (format_ratio(one.ratio, one.interval) for one in comparisons)
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
