"""Speed: latency, throughput and memory of every configuration, as tables and charts."""

from collections.abc import Sequence

from ivme.measure.records import Record
from ivme.report.charts.specifications import Chart
from ivme.report.document import Block, KeyFigure, Paragraph, Plots, Section
from ivme.report.figures import Figures, read_figures, shared_settings
from ivme.report.formatting import (
    format_bytes,
    format_interval,
    format_percent,
    format_rate,
    format_seconds,
)
from ivme.report.sections.metrics import (
    LATENCY,
    THROUGHPUT,
    memory_charts,
    metric_charts,
)
from ivme.report.sections.tables import latency_table, start_table, throughput_table

_MOST_CHARTS = 13  # in one section
_MIXED_TEXTS = "Texts differ in length, so throughput is all texts over all of their time."
_HOW_TO_READ = "Medians; bars through markers and ends: their 95% intervals."


def speed_findings(record: Record) -> list[Block]:
    """Return the finding in words, unless comparisons give a better one."""
    figures = read_figures(record)
    if not figures or record.comparisons:
        return []
    return [Paragraph(text=_sentence(figures), is_lead=True)]


def speed_figures(record: Record) -> list[KeyFigure]:
    """Return the key figures of a record that measured configurations."""
    figures = read_figures(record)
    if not figures:
        return []
    return [_fastest(figures), *_most_texts(figures), *_memory(figures), *_ceiling(figures)]


def latency_section(record: Record) -> Section | None:
    """Return latency by configuration."""
    figures = read_figures(record)
    if not figures:
        return None
    charts = metric_charts(LATENCY, figures, ("batch_size", "tokens"))
    return Section(title="Latency", blocks=(*_plots(charts, figures), latency_table(figures)))


def cost_section(record: Record) -> Section | None:
    """Return throughput and memory by configuration."""
    figures = read_figures(record)
    if not figures:
        return None
    throughput = metric_charts(THROUGHPUT, figures, ("batch_size",))
    charts = (*throughput, *memory_charts(figures))
    tables = [throughput_table(figures), start_table(figures)]
    filled = [table for table in tables if len(table.columns) > 1]
    return Section(title="Throughput and memory", blocks=(*_plots(charts, figures), *filled))


def _plots(charts: Sequence[Chart], figures: Sequence[Figures]) -> tuple[Block, ...]:
    if not charts:
        return ()
    shared = shared_settings(figures)
    caption = f"All with {shared}. {_HOW_TO_READ}" if shared else _HOW_TO_READ
    if any(one.configuration.get("tokens") is None for one in figures):
        caption += f" {_MIXED_TEXTS}"
    if len(charts) > _MOST_CHARTS:
        caption += f" The first {_MOST_CHARTS} of {len(charts)} charts; the table has all figures."
    return (Plots(caption=caption, charts=tuple(charts[:_MOST_CHARTS])),)


def _sentence(figures: Sequence[Figures]) -> str:
    """Return how long the fastest and the slowest call take."""
    best = min(figures, key=lambda one: one.median_s)
    worst = max(figures, key=lambda one: one.median_s)
    if len(figures) == 1:
        return f"{best.label}: a call takes {_median_text(best)}."
    return (
        f"The fastest call of {len(figures)} configurations takes {_median_text(best)} "
        f"({best.label}), the slowest {_median_text(worst)} ({worst.label})."
    )


def _median_text(figures: Figures) -> str:
    """Return the median with its interval, as in "12.3 ms, 95% interval 12.0–12.7 ms"."""
    text = format_seconds(figures.median_s, figures.interval_s)
    if figures.interval_s is None:
        return text
    return f"{text}, 95% interval {format_interval(figures.interval_s, format_seconds)}"


def _fastest(figures: Sequence[Figures]) -> KeyFigure:
    best = min(figures, key=lambda one: one.median_s)
    return KeyFigure(
        value=format_seconds(best.median_s, best.interval_s),
        label="median latency" if len(figures) == 1 else "lowest median latency",
        detail=best.label,
    )


def _most_texts(figures: Sequence[Figures]) -> list[KeyFigure]:
    counted = [one for one in figures if one.items_per_s]
    if not counted:
        return []
    best = max(counted, key=lambda one: one.items_per_s or 0.0)
    value = format_rate(best.items_per_s, "texts/s")
    label = "throughput" if len(figures) == 1 else "highest throughput"
    return [KeyFigure(value=value, label=label, detail=best.label)]


def _memory(figures: Sequence[Figures]) -> list[KeyFigure]:
    counted = [one for one in figures if one.peak_memory_bytes]
    if not counted:
        return []
    most = max(counted, key=lambda one: one.peak_memory_bytes or 0)
    label = "peak memory" if len(figures) == 1 else "highest peak memory"
    return [KeyFigure(value=format_bytes(most.peak_memory_bytes), label=label, detail=most.label)]


def _ceiling(figures: Sequence[Figures]) -> list[KeyFigure]:
    counted = [one for one in figures if one.ceiling_share]
    if not counted:
        return []
    best = max(counted, key=lambda one: one.ceiling_share or 0.0)
    value = format_percent(best.ceiling_share)
    return [KeyFigure(value=value, label="of this machine's ceiling at best", detail=best.label)]
