"""Comparisons: findings in words, the forest of ratios, and the run of the blocks."""

from statistics import median

from ivme.measure.records import Comparison, Record
from ivme.report.charts.specifications import Effect, ForestChart, SequenceChart
from ivme.report.document import (
    Block,
    KeyFigure,
    KeyFigures,
    Note,
    Paragraph,
    Plots,
    Section,
    Table,
)
from ivme.report.formatting import format_interval, format_percent, format_ratio
from ivme.report.sections.tables import build_table, text_column
from ivme.report.wording import (
    comparison_sentence,
    control_sentence,
    ratio_text,
    speedup,
    speedup_interval,
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


def comparison_figures(record: Record) -> list[Block]:
    """Return the speedups as key figures."""
    if not record.comparisons:
        return []
    return [KeyFigures(figures=tuple(map(_key_figure, record.comparisons)))]


def comparison_section(record: Record) -> Section | None:
    """Return the forest of ratios, the ratio over the run, and the table."""
    if not record.comparisons:
        return None
    charts = (_forest(record.comparisons), *_sequences(record.comparisons))
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
    interval = format_interval(speedup_interval(comparison.interval))
    return KeyFigure(
        value=f"{ratio_text(comparison)}×",
        label=f"{comparison.variant} against {comparison.baseline}: {comparison.verdict}",
        detail=f"times as fast, 95% interval {interval}",
    )


def _forest(comparisons: tuple[Comparison, ...]) -> ForestChart:
    margin = max(one.equivalence_margin for one in comparisons)
    return ForestChart(
        title="How many times as fast, with 95% intervals",
        description=f"Shaded: differences under {format_percent(margin)} count as none.",
        x_label="times as fast as the baseline",
        band=(1 / (1 + margin), 1 + margin),
        effects=(*map(_effect, comparisons), *_control_effects(comparisons)),
    )


def _effect(comparison: Comparison) -> Effect:
    interval = speedup_interval(comparison.interval)
    return Effect(
        label=f"{comparison.variant} vs {comparison.baseline}",
        value=speedup(comparison),
        interval=interval,
        text=f"{ratio_text(comparison)} ({format_interval(interval)}) {comparison.verdict}",
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
            label=f"A/A control: {one.baseline}",
            value=(low * high) ** 0.5,
            interval=(low, high),
            text=f"({format_interval((low, high))}) {state}",
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
                    title=f"Block by block: {one.variant} vs {one.baseline}",
                    description="One dot a block; shaded: the 95% interval. A slope would be drift.",
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
        "Comparisons",
        [
            text_column("Variant", (one.variant for one in comparisons)),
            text_column("Baseline", (one.baseline for one in comparisons)),
            text_column("Verdict", (one.verdict for one in comparisons)),
            text_column("Times as fast", map(ratio_text, comparisons)),
            text_column(
                "95% interval",
                (format_interval(speedup_interval(one.interval)) for one in comparisons),
            ),
            text_column(
                "Ratio of times", (format_ratio(one.ratio, one.interval) for one in comparisons)
            ),
            text_column("Blocks", (str(len(one.blocks)) for one in comparisons)),
            text_column("Threads", (str(one.threads or "") for one in comparisons)),
            text_column("Stopped by", (one.stopped_by for one in comparisons)),
            text_column("Outliers kept", map(_outliers, comparisons)),
            text_column("A/A control", map(_control_state, comparisons)),
        ],
    )


def _outliers(comparison: Comparison) -> str:
    return "; ".join(
        f"{name}: " + ", ".join(f"{count} {severity}" for severity, count in counts.items())
        for name, counts in comparison.outliers.items()
    )


def _control_state(comparison: Comparison) -> str:
    if comparison.control_interval is None:
        return ""
    state = "clean" if comparison.control_is_clean else "not clean"
    return f"{state} ({format_interval(comparison.control_interval)})"
