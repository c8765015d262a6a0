"""The record of a search, made up."""

from typing import Any

from sample_records import CREATED_AT, MACHINE, VERSIONS

from ivme.measure.records import Measurement, Record

REFERENCE = {"metric": "the reference itself", "is_accepted": True, "loss": 0.0}


def quality(loss: float, bound: float, *, is_judged: bool = True) -> dict[str, Any]:
    return {
        "metric": "agreement",
        "texts": 600,
        "value": 1 - loss,
        "loss": loss,
        "loss_bound": bound,
        "budget": 0.005,
        "is_judged": is_judged,
        "is_accepted": not is_judged or bound <= 0.005,
    }


def variant(name: str, status: str, ratio: float | None, **facts: Any) -> Measurement:
    memory_bytes = facts.pop("memory_bytes", None)
    ran = ratio is not None
    return Measurement(
        label=f"{name} · batch 1 · 2 threads",
        configuration={"model": "preset:bert-base", "engine": name.partition(":")[0]},
        samples_s={"pass": (0.5 * ratio,) * 5, "load": (2.0,), "first_call": (1.0,)}
        if ratio is not None
        else {},
        items_per_call=5 if ran else None,
        floating_point_operations_per_call=1e10 if ran else None,
        peak_memory_bytes=memory_bytes,
        facts={
            "ceiling_flops": 2e11,
            "tune": {
                "name": name,
                "status": status,
                "reason": "",
                "is_baseline": False,
                "ratio": ratio,
                "interval": None,
                "quality": None,
                "notes": [],
                **facts,
            },
        },
    )


def tune_record() -> Record:
    """Return a search that chose bfloat16, because int8 loses too much."""
    interval = (0.11, 0.14)
    return Record(
        kind="tune",
        command=("ivme", "tune", "preset:bert-base"),
        created_at=CREATED_AT,
        machine=MACHINE,
        versions=VERSIONS,
        settings={},
        measurements=(
            variant(
                "transformers:float32",
                "slower",
                1.0,
                quality=REFERENCE,
                is_baseline=True,
                reason="8.0 times as slow as openvino:bfloat16",
                memory_bytes=900_000_000,
            ),
            variant(
                "openvino:bfloat16",
                "chosen",
                0.125,
                interval=interval,
                quality=quality(0.0, 0.0049),
                memory_bytes=500_000_000,
                notes=["the rest is in float32"],
            ),
            variant("openvino:int8", "lossy", 0.08, quality=quality(0.02, 0.032), reason="loses"),
            variant("torchao:int8", "skipped", None, reason="no budget left to try it"),
            variant("bitsandbytes:int8", "skipped", None, reason="no budget left to try it"),
        ),
        notes=("device cpu: asked for",),
    )
