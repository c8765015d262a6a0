"""From what a search found to a record: one measurement a variant, and the comparisons."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ivme.bench.cases import make_case
from ivme.bench.runs import describe_model, flops_per_call
from ivme.engines.traps import padding_waste
from ivme.measure.records import Measurement
from ivme.tune.entries import Entry
from ivme.tune.search import Search

if TYPE_CHECKING:
    from ivme.bench.place import Place
    from ivme.engines.batching import Batching


def note_padding(search: Search) -> None:
    """Note with each variant that ran if it computes mostly padding."""
    work = _Work(search)
    for entry in search.entries:
        counts = work.counts(entry)
        padded = counts.get("padded_tokens")
        if padded:
            share = 1 - (counts["tokens"] or 0) / padded
            traps = padding_waste(share, entry.variant.batching.order)
            entry.notes = (*entry.notes, *map(str, traps))


def measurements_of(search: Search, place: "Place | None") -> list[Measurement]:
    """Return one measurement a variant; place: knows the ceilings, None: none were measured."""
    work = _Work(search)
    return [measurement_of(entry, search, work, place) for entry in search.entries]


def measurement_of(
    entry: Entry, search: Search, work: "_Work", place: "Place | None"
) -> Measurement:
    """Return what is known of a variant; the samples are of whole passes over the timed texts."""
    model, variant = search.steps.model, entry.variant
    counts = work.counts(entry)
    precision = entry.precision or variant.precision
    ceiling, path = (None, None)
    if place is not None and entry.samples_s and variant.threads == place.threads:
        ceiling, path = place.ceiling(precision, model.device)
    samples = {"pass": entry.samples_s} if entry.samples_s else {}
    return Measurement(
        label=entry.label,
        configuration={
            "model": model.reference,
            "kind": model.kind,
            "device": model.device,
            **variant.as_settings(),
            "tokens": None,
        },
        samples_s={
            **samples,
            **_once("load", entry.prepare_s),
            **_once("first_call", entry.first_call_s),
        },
        items_per_call=counts.get("texts"),
        tokens_per_call=counts.get("tokens"),
        padded_tokens_per_call=counts.get("padded_tokens"),
        floating_point_operations_per_call=counts.get("operations"),
        peak_memory_bytes=entry.peak_memory_bytes,
        facts={
            **describe_model(model),
            "ceiling_flops": ceiling,
            "ceiling_path": path,
            "precision": entry.precision,
            "tune": tune_facts(entry),
        },
    )


def tune_facts(entry: Entry) -> dict[str, Any]:
    """Return what a search says about a variant, as a record and a plan keep it."""
    return {
        "name": entry.variant.name,
        "status": entry.status,
        "reason": entry.reason,
        "is_baseline": entry.is_baseline,
        "ratio": entry.ratio,
        "interval": entry.interval,
        "quality": entry.quality,
        "notes": list(entry.notes),
        **entry.phases,
    }


def evidence_of(search: Search, chosen: Entry) -> dict[str, Any]:
    """Return why the variant was chosen, as its plan keeps it."""
    return {
        "objective": search.config.objective,
        "budget_s": search.config.budget_s,
        "spent_s": search.spent_s(),
        "texts_per_s": _rate(chosen),
        "peak_memory_bytes": chosen.peak_memory_bytes,
        "chosen": tune_facts(chosen),
        "baseline": tune_facts(search.baseline),
        "tried": [tune_facts(one) for one in search.entries],
        "comparisons": [
            {key: value for key, value in asdict(one).items() if key != "blocks"}
            for one in search.comparisons
        ],
    }


class _Work:
    """Texts, tokens and operations of a pass, counted once for each batching and sample."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._counts: dict[tuple[Batching, int], dict[str, float | None]] = {}

    def counts(self, entry: Entry) -> Mapping[str, float | None]:
        """Return the counts of one pass of the entry; nothing if it never ran."""
        if not entry.texts:
            return {}
        key = (entry.variant.batching, len(entry.texts))
        if key not in self._counts:
            self._counts[key] = self._count(entry)
        return self._counts[key]

    def _count(self, entry: Entry) -> dict[str, float | None]:
        steps = self._search.steps
        options = steps.sessions.options
        case = make_case(
            entry.texts,
            entry.variant.batching,
            steps.sessions.get(steps.baseline),
            options.max_length or steps.model.max_length,
        )
        operations = flops_per_call(steps.model, case, options.new_tokens)
        return {
            "texts": len(entry.texts),
            "tokens": case.real_tokens,
            "padded_tokens": case.padded_tokens,
            "operations": None if operations is None else operations * len(case.batches),
        }


def _once(name: str, seconds: float | None) -> dict[str, tuple[float, ...]]:
    return {} if seconds is None else {name: (seconds,)}


def _rate(entry: Entry) -> float | None:
    if not entry.samples_s:
        return None
    return len(entry.texts) * len(entry.samples_s) / sum(entry.samples_s)
