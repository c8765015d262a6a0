"""An evaluation as a record: one measurement for each member and each way of combining them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ivme.ensemble.evaluation import Evaluation, Verdict
from ivme.ensemble.metrics import Figure, reliability, roc_curve
from ivme.measure.records import Measurement, Record, new_record

KIND = "evaluate"
DIGITS = 6  # of scores that are kept


def evaluation_record(
    evaluation: Evaluation,
    *,
    command: Sequence[str],
    settings: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Record:
    """Return the record of an evaluation, with every score, made on this machine."""
    from ivme.hardware.inventory import read_inventory

    return new_record(
        KIND,
        command,
        asdict(read_inventory()),
        {
            **settings,
            "data": evaluation.data,
            "labels": list(evaluation.labels),
            "label_names": dict(evaluation.label_names),
            "positive": evaluation.positive,
            "counts": dict(evaluation.counts),
            "domains": dict(evaluation.domains),
            "lengths": dict(evaluation.lengths),
            "ensemble": dict(evaluation.facts),
        },
        measurements=[_measurement(one) for one in evaluation.verdicts],
        notes=[*notes, *evaluation.notes],
    )


def _measurement(verdict: Verdict) -> Measurement:
    judge, scored = verdict.judge, verdict.scored
    return Measurement(
        label=judge.name,
        configuration={"member": judge.name},
        samples_s={} if judge.scoring_s is None else {"scoring": (judge.scoring_s,)},
        items_per_call=len(scored.scores),
        facts={
            "classification": {
                "is_member": judge.is_member,
                "figures": _plain(verdict.figures),
                "by_domain": {name: _plain(one) for name, one in verdict.by_domain.items()},
                "by_length": {name: _plain(one) for name, one in verdict.by_length.items()},
                "roc": roc_curve(scored),
                "reliability": reliability(scored),
                "scores": [round(one, DIGITS) for one in scored.scores.tolist()],
                "is_positive": scored.is_positive.astype(int).tolist(),
            }
        },
    )


def _plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {name: asdict(one) for name, one in figures.items()}
