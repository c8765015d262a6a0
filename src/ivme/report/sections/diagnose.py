"""Diagnosis: who is to blame for a slow step, what to change, and what it brings.

Reads what `ivme diagnose` leaves beside its first measurement, under the name "diagnosis".
"""

from collections.abc import Callable, Mapping
from typing import Any

from ivme.measure.records import Measurement, Record
from ivme.measure.statistics import median
from ivme.report.document import Block, Command, KeyFigure, Note, Paragraph, Section, Table
from ivme.report.figures import samples
from ivme.report.formatting import (
    BYTES,
    format_bytes,
    format_interval,
    format_number,
    format_percent,
    format_rate,
    format_ratio,
    format_seconds,
)
from ivme.report.sections.provenance import LEFT_OUT
from ivme.report.sections.tables import (
    build_table,
    number_column,
    share_column,
    text_column,
    unit_column,
)

ANSWERS = {"yes": "yes", "no": "no", "undecided": "not decided"}


def diagnosed(record: Record) -> tuple[Measurement, Mapping[str, Any]] | None:
    """Return the measurement of the present set-up and its diagnosis; None in other records."""
    for one in record.measurements:
        found = one.facts.get("diagnosis")
        if isinstance(found, Mapping):
            return one, found
    return None


def diagnosis_title(record: Record) -> str:
    """Return the title of a diagnosis."""
    found = diagnosed(record)
    assert found is not None
    return f"Why training {found[0].configuration.get('model')} takes as long as it does"


def diagnosis_findings(record: Record) -> list[Block]:
    """Return the answer in a few sentences: the usual suspects, the advice, the check."""
    found = diagnosed(record)
    if found is None:
        return []
    _, diagnosis = found
    texts = [*promise_sentences(record), *map(suspect_sentence, diagnosis["suspects"])]
    blocks: list[Block] = [
        Paragraph(text=text, is_lead=not index) for index, text in enumerate(texts)
    ]
    check = check_sentence(diagnosis)
    return [*blocks, *([Note(text=check, word="Check")] if check else [])]


def promise_sentences(record: Record) -> list[str]:
    """Return what the first advice promises, or that there is none."""
    found = diagnosed(record)
    if found is None:
        return []
    measurement, diagnosis = found
    if not samples(measurement, "step"):
        return [_no_advice(record, diagnosis)] if diagnosis.get("left_out") else []
    doubt = diagnosis.get("unconfirmed")
    if doubt:
        return [
            f"{_capital(doubt['label'])} seemed faster, and was not beyond doubt when measured "
            f"again: {_times(doubt)} times as fast (95% interval {_interval(doubt)})."
        ]
    if not diagnosis["advice"]:
        return [_no_advice(record, diagnosis)]
    first = best_advice(diagnosis)
    text = f"{_capital(first['label'])}: {_times(first)} times as fast"
    if first.get("tokens_per_s"):
        low, high = first["tokens_per_s_interval"]
        rate = format_rate(first["tokens_per_s"], "tokens/s", (low, high))
        now = format_rate(_rate(measurement), "tokens/s")
        text += f", {rate} in place of {now}"
    return [f"{text} (95% interval {_interval(first)})."]


def _no_advice(record: Record, diagnosis: Mapping[str, Any]) -> str:
    left_out = diagnosis.get("left_out", ())
    if not record.comparisons:
        reason = f" ({left_out[0]['label']} was {left_out[0]['reason']})" if left_out else ""
        return f"Nothing could be tried, so nothing is known of what would help{reason}."
    text = "Nothing that was tried makes this training faster beyond doubt"
    if not left_out:
        return f"{text}."
    count = "1 setting was" if len(left_out) == 1 else f"{len(left_out)} settings were"
    return f"{text}; {count} not tried."


def best_advice(diagnosis: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the advice that was measured again, else the one that gains most."""
    advice: list[Mapping[str, Any]] = diagnosis["advice"]
    return next((one for one in advice if one["is_confirmed"]), advice[0])


def suspect_sentence(suspect: Mapping[str, Any]) -> str:
    """Return whether a suspect is the problem, with the figures that say so."""
    name, answer = _capital(suspect["name"]), ANSWERS[suspect["verdict"]]
    if "best" in suspect:
        text = f"{name}: {answer}; {suspect['best']}: {_times(suspect)} times as fast"
        text += f" (95% interval {_interval(suspect)})"
    else:
        text = f"{name}: {answer}; {suspect['failure']}"
    if "share" in suspect:
        text += (
            f"; data take {format_percent(suspect['share'])} of a step, so workers can bring "
            f"{format_ratio(suspect['most_gain'])} times at most"
        )
    return f"{text}."


def check_sentence(diagnosis: Mapping[str, Any]) -> str | None:
    """Return what became of the promise when it was measured again."""
    check = diagnosis.get("check")
    if not check:
        return None
    words = {
        "kept": "the advice keeps its promise",
        "within noise": "the advice brings less than promised, by no more than chance explains",
        "not kept": "the advice does not keep its promise",
    }
    promised = format_interval(tuple(check["promised_interval"]))
    return (
        f"In fresh processes {words[check['verdict']]}: {_times(check)} times as fast "
        f"({_interval(check)}), promised were {promised}."
    )


def diagnosis_figures(record: Record) -> list[KeyFigure]:
    """Return the key figures: the step now, the step as advised, the phase that weighs most."""
    found = diagnosed(record)
    if found is None or not samples(found[0], "step"):
        return []
    measurement, diagnosis = found
    step_s = median(samples(measurement, "step"))
    figures = [KeyFigure(value=format_seconds(step_s), label="a step now", detail=_now(found[0]))]
    if diagnosis["advice"]:
        first = best_advice(diagnosis)
        figures.append(
            KeyFigure(
                value=f"{_times(first)}×",  # noqa: RUF001 - the sign for times
                label="as fast as advised",
                detail=f"{first['label']}; 95% interval {_interval(first)}",
            )
        )
    shares = diagnosis["anatomy"].get("phase_shares") or {}
    if shares:
        name = max(shares, key=lambda one: shares[one])
        figures.append(KeyFigure(value=format_percent(shares[name]), label=f"of a step is {name}"))
    limits = diagnosis["anatomy"].get("limits") or {}
    if limits.get("product_flop_per_s"):
        share = limits["flops"] / step_s / limits["product_flop_per_s"]
        figures.append(
            KeyFigure(
                value=format_percent(share),
                label="of this machine's matrix-product rate",
                detail=f"{format_rate(limits['flops'] / step_s, 'FLOP/s')}",
            )
        )
    return figures


def diagnosis_advice_section(record: Record) -> Section | None:
    """Return what to change, each with its command line, and what does not help."""
    found = diagnosed(record)
    if found is None:
        return None
    diagnosis = found[1]
    blocks: list[Block] = []
    table = advice_table(record)
    if table is not None:
        blocks.append(table)
    for one in diagnosis["advice"]:
        blocks += [Paragraph(text=advice_sentence(one)), Command(text=one["command"])]
    for build in (savings_table, no_help_table, left_out_table):
        table = build(record)
        if table is not None:
            blocks.append(table)
    return Section(title="What to change", blocks=tuple(blocks)) if blocks else None


def advice_sentence(advice: Mapping[str, Any]) -> str:
    """Return an advice with what it costs besides."""
    cautions = f" Mind: {'; '.join(advice['cautions'])}." if advice["cautions"] else ""
    kind = "measured again after it was chosen" if advice["is_confirmed"] else "alone"
    return f"{_capital(advice['label'])} ({kind}): {_times(advice)} times as fast.{cautions}"


def advice_table(record: Record) -> Table | None:
    """Return what to change in order of gain; None where nothing helps."""
    found = diagnosed(record)
    if found is None or not found[1]["advice"]:
        return None
    rows = found[1]["advice"]
    return build_table(
        "What helps",
        [
            text_column("Change", (one["label"] for one in rows)),
            number_column("Times as fast", map(_times, rows)),
            number_column("95% interval", map(_interval, rows)),
            number_column("tokens/s", (format_number(one.get("tokens_per_s")) for one in rows)),
            unit_column("Peak memory", [one["peak_memory_bytes"] for one in rows], BYTES),
        ],
    )


def no_help_table(record: Record) -> Table | None:
    """Return what was tried and does not help, and why."""
    found = diagnosed(record)
    if found is None or not found[1]["no_help"]:
        return None
    rows = found[1]["no_help"]
    return build_table(
        "Tried, and does not help",
        [
            text_column("Change", (one["label"] for one in rows)),
            number_column("Times as fast", (_if_measured(_times, one) for one in rows)),
            number_column("95% interval", (_if_measured(_interval, one) for one in rows)),
            text_column("Why", (one["failure"] or one.get("verdict", "") for one in rows)),
        ],
    )


def left_out_table(record: Record) -> Table | None:
    """Return what was not tried, and why."""
    found = diagnosed(record)
    rows = found[1].get("left_out") if found else None
    if not rows:
        return None
    return build_table(
        "Not tried",
        [
            text_column("Change", (one["label"] for one in rows)),
            text_column("Why", (one["reason"].removeprefix(LEFT_OUT) for one in rows)),
        ],
    )


def savings_table(record: Record) -> Table | None:
    """Return what takes less memory, and its price in speed."""
    found = diagnosed(record)
    if found is None or not found[1]["savings"]:
        return None
    rows = found[1]["savings"]
    return build_table(
        "Takes less memory",
        [
            text_column("Change", (one["label"] for one in rows)),
            share_column("Less memory", (one["saved_share"] for one in rows)),
            number_column("Times as fast", map(_times, rows)),
            number_column("95% interval", map(_interval, rows)),
        ],
    )


def _now(measurement: Measurement) -> str:
    rate = _rate(measurement)
    peak = format_bytes(measurement.peak_memory_bytes)
    return f"{format_rate(rate, 'tokens/s')}; peak memory {peak}" if rate else peak


def _rate(measurement: Measurement) -> float | None:
    steps = samples(measurement, "step")
    tokens = measurement.tokens_per_call
    return tokens / median(steps) if tokens and steps else None


def _times(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    return format_ratio(row["speedup"], (low, high))


def _interval(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    return format_interval((low, high))


def _if_measured(show: Callable[[Mapping[str, Any]], str], row: Mapping[str, Any]) -> str:
    return show(row) if "speedup" in row else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
