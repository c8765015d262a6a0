"""The record of an evaluated ensemble, made up."""

from typing import Any

from sample_records import CREATED_AT, MACHINE, VERSIONS

from ivme.measure.records import Measurement, Record

DOMAINS = {"essay": 120, "review": 80}
LENGTHS = {"under 50": 20, "50 to 99": 80, "100 to 199": 100}


def figure(value: float | None, half: float = 0.02) -> dict[str, Any]:
    if value is None:
        return {"value": None, "interval": None}
    return {"value": value, "interval": [max(0.0, value - half), min(1.0, value + half)]}


def figures(auroc: float | None, *, has_thresholds: bool = True) -> dict[str, Any]:
    found = {
        "auroc": figure(auroc, 0.005),
        "accuracy": figure(0.93),
        "calibration_error": figure(0.031, 0.01),
        "brier": figure(0.05, 0.01),
    }
    if has_thresholds:
        for rate, share in (("0.01", 0.87), ("0.05", 0.95)):
            found[f"tpr_at_{rate}"] = figure(None if auroc is None else share)
            found[f"fpr_at_{rate}"] = figure(float(rate), 0.005)
    return found


def judge(name: str, auroc: float, *, is_member: bool, has_thresholds: bool = True) -> Measurement:
    def made(value: float | None) -> dict[str, Any]:
        return figures(value, has_thresholds=has_thresholds)

    return Measurement(
        label=name,
        configuration={"member": name},
        samples_s={"scoring": (4.0,)} if is_member else {},
        items_per_call=200,
        facts={
            "classification": {
                "is_member": is_member,
                "figures": made(auroc),
                "by_domain": {"essay": made(auroc), "review": made(None)},
                "by_length": {name: made(auroc - 0.01) for name in LENGTHS},
                "roc": [[0.0, 0.0], [0.0, 0.6], [0.01, 0.87], [0.05, 0.95], [1.0, 1.0]],
                "reliability": [
                    {"score": 0.1, "share": 0.05, "low": 0.02, "high": 0.1, "texts": 90},
                    {"score": 0.9, "share": 0.97, "low": 0.93, "high": 0.99, "texts": 110},
                ],
                "scores": [0.1] * 90 + [0.9] * 110,
                "is_positive": [0] * 100 + [1] * 100,
            }
        },
    )


def ensemble_record(*, has_stacking: bool = True) -> Record:
    """Return an evaluation of two members, with thresholds where there is a stacking."""
    judges = [
        judge("BERT", 0.97, is_member=True, has_thresholds=has_stacking),
        judge("GLM", 0.95, is_member=True, has_thresholds=has_stacking),
        judge("majority vote", 0.96, is_member=False, has_thresholds=False),
    ]
    if has_stacking:
        judges.append(judge("stacking", 0.985, is_member=False))
    return Record(
        kind="evaluate",
        command=("ivme", "ensemble", "evaluate", "model"),
        created_at=CREATED_AT,
        machine=MACHINE,
        versions=VERSIONS,
        settings={
            "data": "test.csv",
            "labels": ["0", "1"],
            "label_names": {"0": "AI", "1": "Human"},
            "positive": "0",
            "counts": {"0": 100, "1": 100},
            "domains": DOMAINS,
            "lengths": LENGTHS,
        },
        measurements=tuple(judges),
        notes=("A note on the texts.",),
    )
