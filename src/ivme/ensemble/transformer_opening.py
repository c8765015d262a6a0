"""Opening a transformer member: its plan, or its weights on a device that the plan is not for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ivme.ensemble.ensemble_json import GroupEntry
from ivme.ensemble.groups import TransformerMember
from ivme.errors import UsageError

if TYPE_CHECKING:
    from ivme.tune.predictor import Predictor

GPU_BATCH_SIZE = 32


def open_transformer(
    group: GroupEntry,
    plan_folder: Path,
    weights: Path | None,
    labels: Sequence[str],
    *,
    check_weights: Callable[[], None],
    threads: int | None,
    device: str,
    max_length: int | None,
) -> TransformerMember:
    """Return the member on the device, its plan's files already checked; see open_group."""
    from ivme.tune.plan import read_plan

    planned = read_plan(plan_folder).device
    chosen, note = _choose(device, planned, has_weights=weights is not None)
    if chosen == planned:
        return TransformerMember.load(
            group.name,
            plan_folder,
            labels,
            threads=threads,
            max_length=max_length,
            threshold=group.threshold,
            verify=False,  # they were compared with the ensemble's manifest
        )
    if weights is None:
        raise UsageError(
            f"member {group.name} is planned for {planned}, and its weights for {chosen} were not "
            "kept; train again with keep_weights, or leave the device out"
        )
    check_weights()
    return TransformerMember(
        group.name,
        open_weights(weights, plan_folder, chosen, threads or 1, max_length),
        labels,
        threshold=group.threshold,
        notes=(note,),
    )


def _choose(device: str, planned: str, *, has_weights: bool) -> tuple[str, str]:
    """Return the device and why; torch is imported only where there is an accelerator."""
    from ivme.hardware.devices import choose_device
    from ivme.hardware.inventory import read_inventory

    if device in ("auto", planned):
        if device == planned or not has_weights or not read_inventory().accelerators:
            return planned, f"device {planned}: as planned"
        choice = choose_device(None, read_inventory(with_torch=True))
    else:
        choice = choose_device(device, read_inventory(with_torch=True))
    return choice.name, f"device {choice.name}: {choice.reason}"


def open_weights(
    weights: Path, plan_folder: Path, device: str, threads: int, max_length: int | None
) -> "Predictor":
    """Return a predictor on the weights: bfloat16 on an accelerator, float32 on the processor."""
    from dataclasses import replace

    from ivme.engines.batching import Batching
    from ivme.engines.registry import get_engine
    from ivme.engines.streams import prepare_streams
    from ivme.models.loading import load_model
    from ivme.tune.plan import read_plan
    from ivme.tune.predictor import Predictor
    from ivme.tune.variants import Variant

    dtype = "float32" if device == "cpu" else "bfloat16"
    plan = read_plan(plan_folder)
    model = load_model(str(weights), device=device, dtype=dtype, kind="classifier")
    allowed = (max_length, plan.max_length, model.max_length)
    limit = min((one for one in allowed if one), default=None)
    variant = Variant(
        engine="transformers",
        precision=dtype,
        threads=threads,
        batching=Batching(batch_size=GPU_BATCH_SIZE),
    )
    plan = replace(plan, variant=variant, device=device, dtype=dtype, max_length=limit)
    sessions = prepare_streams(get_engine("transformers"), model, plan.options, 1)
    return Predictor(plan, sessions, model, ())
