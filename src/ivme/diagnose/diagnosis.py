"""The diagnosis: from a target to a record of its anatomy, what was tried, and advice."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ivme.diagnose import advice
from ivme.diagnose.axes import Axis, make_axes, make_pairs, split_first
from ivme.diagnose.ceilings_here import training_ceilings
from ivme.diagnose.checking import check_promise
from ivme.diagnose.commands import command_for
from ivme.diagnose.configuration import DiagnoseConfig
from ivme.diagnose.examination import examine
from ivme.diagnose.settings import StepSettings
from ivme.diagnose.step_process import StepProcess, process_context
from ivme.diagnose.sweep import Sweep
from ivme.diagnose.targets import FILE, Target, find_target
from ivme.diagnose.trials import Trial
from ivme.engines.traps import find_place_traps
from ivme.errors import IvmeError, OutOfMemoryError, UsageError
from ivme.hardware.ceilings import Ceilings, read_busy_share
from ivme.hardware.inventory import Inventory, read_inventory
from ivme.hardware.threads import default_threads
from ivme.measure.clock import Clock, SystemClock
from ivme.measure.records import Comparison, Measurement, Record, new_record
from ivme.report.formatting import format_bytes

VERSION = 1  # of what stands under "diagnosis" in the facts of the first measurement
OUTLINE_LIMIT_S = 600.0  # at least: presets and tokens are made on the way
LEAST_SHARE_S = 1.0  # for any axis, however late it is: short steps need no more
PAIR_WEIGHT = 4.0  # part of the time that settings turned together get
FINAL_WEIGHT = 4.0  # part of the time that the confirmation of the advice gets
ANATOMY_SHARE = 0.3  # of the budget, at most, where steps are slow
TOO_SLOW = 2.0  # times its part of the budget: what settings may overdraw it by for a verdict
OVERDRAFT_SHARE = 0.15  # of the budget, at most, to measure the advice again
LEAST_CONFIRMATION_S = 3.0  # that it may take however small the budget
COMPILE_SHARE = 1 / 3  # of the budget, for a step to compile where a usual step gets less

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a diagnosis found; `failure` is what ended it early, if anything did."""

    record: Record
    failure: IvmeError | None


@dataclass(kw_only=True)
class _Findings:
    """All that was found so far; it survives failures and interrupts."""

    outline: dict[str, Any] = field(default_factory=dict)
    anatomy: dict[str, Any] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    check: dict[str, Any] | None = None
    check_comparison: Comparison | None = None
    notes: list[str] = field(default_factory=list)
    ceilings: Ceilings | None = None


def run_diagnose(
    config: DiagnoseConfig,
    *,
    command: Sequence[str],
    tell: Tell = lambda text: None,
    clock: Clock | None = None,
) -> Diagnosis:
    """Return what makes the training of a target slow, and what would help.

    Raises UsageError for a target or settings that cannot be; what goes wrong with the step is in
    the result, with all that was found before.
    """
    target = find_target(config.target, texts=config.texts, model_kind=config.kind)
    inventory = read_inventory(with_torch=True)
    found, failure, is_complete = _Findings(), None, True
    try:
        _diagnose(config, target, inventory, found, tell, clock or SystemClock())
    except IvmeError as error:
        failure = error
    except KeyboardInterrupt:
        if not found.trials:
            raise
        is_complete = False
    if failure is not None and not found.trials:
        raise failure
    record = _record(config, target, inventory, found, command, is_complete and failure is None)
    return Diagnosis(record=record, failure=failure)


def _diagnose(
    config: DiagnoseConfig,
    target: Target,
    inventory: Inventory,
    found: _Findings,
    tell: Tell,
    clock: Clock,
) -> None:
    context, cores = process_context(), default_threads(inventory)
    busy_share = read_busy_share()
    tell("loading")
    with StepProcess(target, context) as process:
        found.outline = process.request("outline", outline_limit_s(target, config.step_limit_s))
    settings = resolve_settings(config, found.outline, cores)
    used = {"torch": settings.threads}
    found.notes += [str(trap) for trap in find_place_traps(inventory, used, busy_share)]
    found.ceilings = training_ceilings(inventory, tell)

    def new_sweep() -> Sweep:
        return Sweep(
            target,
            context,
            step_limit_s=config.step_limit_s,
            compiling_s=config.budget_s * COMPILE_SHARE,
            seed=config.seed,
            tell=tell,
            clock=clock,
        )

    start_s, sweep = clock.now(), new_sweep()
    found.trials = sweep.trials
    try:
        tell("the step as it is")
        baseline = sweep.start(settings)
        found.notes += baseline.notes
        _examine_baseline(config, baseline, found, tell)
        sweep.open_baseline()
        left = _Budget(clock, start_s + config.budget_s)
        _sweep(config, sweep, found, left, cores)
    finally:
        sweep.close()
    if config.check:
        _check(new_sweep(), found, tell)


class _Budget:
    """The seconds that are left, shared out by weight."""

    def __init__(self, clock: Clock, end_s: float) -> None:
        self._clock, self._end_s = clock, end_s

    @property
    def seconds(self) -> float:
        """Return the seconds that are left, 0 where they are overdrawn."""
        return max(0.0, self._end_s - self._clock.now())

    def share(self, weight: float, of_weight: float) -> float:
        """Return the seconds for a part, of all parts that still wait."""
        return max(LEAST_SHARE_S, self.seconds * weight / of_weight)


def _examine_baseline(
    config: DiagnoseConfig, baseline: Trial, found: _Findings, tell: Tell
) -> None:
    """Take the anatomy; the process is not for timing afterwards: watching must not touch that."""
    assert found.ceilings is not None
    room_s = config.budget_s * ANATOMY_SHARE
    try:
        examine(baseline, found.ceilings, config.step_limit_s, room_s, tell, found.anatomy)
    except OutOfMemoryError as error:  # looking takes more of it than the step does
        found.anatomy["left_out"].append(f"anatomy: cut short by lack of memory ({error})")
    leak = found.anatomy.get("leak")
    if leak:
        found.notes.append(
            f"memory leak: {format_bytes(leak['bytes_per_step'])} more after each step: "
            f"{leak['kept']}"
        )
    found.notes += found.anatomy["left_out"]


def _sweep(
    config: DiagnoseConfig, sweep: Sweep, found: _Findings, left: _Budget, cores: int
) -> None:
    """Try settings one at a time, then together, then the advised ones again."""
    baseline = sweep.baseline
    assert baseline is not None
    turnable = found.outline["turnable"]
    axes = make_axes(
        baseline.settings,
        turnable,
        cores=cores,
        longest=found.outline["facts"].get("longest"),
        is_quick=config.is_quick,
    )
    first, rest = split_first(axes)
    later = FINAL_WEIGHT + PAIR_WEIGHT
    weights = [sum(axis.weight for axis in first), *(axis.weight for axis in rest)]
    if first:
        share_s = left.share(weights[0], sum(weights) + later)
        sweep.run_axes(first, share_s, max(share_s, left.seconds))
    for index, axis in enumerate(rest, start=1):
        share_s = left.share(axis.weight, sum(weights[index:]) + later)
        sweep.run_axes([axis], share_s, _most_s(share_s, left, sweep))
    best = {name: one.settings for name, one in advice.best_of_axes(sweep.trials).items()}
    failed = {axis.name for axis in axes if not _any_ran(sweep.trials, axis.name)}
    pairs = make_pairs(baseline.settings, best, failed, turnable, is_quick=config.is_quick)
    if pairs is not None:
        share_s = left.share(PAIR_WEIGHT, later)
        sweep.run_axes([pairs], share_s, _most_s(share_s, left, sweep))
    _confirm(config, sweep, found, left)


def _most_s(share_s: float, left: _Budget, sweep: Sweep) -> float:
    """Return what settings may take: part of what others left, but not the confirmation's part."""
    assert sweep.baseline is not None
    chosen = advice.choose(sweep.baseline.settings, sweep.trials)
    spare_s = left.seconds - (sweep.cost_s(chosen.settings) if chosen else 0.0)
    return min(max(TOO_SLOW * share_s, left.seconds / 3), max(spare_s, share_s))


def _confirm(config: DiagnoseConfig, sweep: Sweep, found: _Findings, left: _Budget) -> None:
    """Measure what is to be advised once more, if there is time or it is to be checked."""
    assert sweep.baseline is not None
    chosen = advice.choose(sweep.baseline.settings, sweep.trials)
    if chosen is None:
        return
    most_s = max(left.seconds, OVERDRAFT_SHARE * config.budget_s, LEAST_CONFIRMATION_S)
    if sweep.cost_s(chosen.settings) > most_s and not config.check:
        found.notes.append(
            f"{chosen.label} was not measured again, there was no time left: raise --budget"
        )
        return
    confirmation = Axis(name=advice.CONFIRMED, variants=(chosen.settings,))
    sweep.run_axes([confirmation], left.share(1.0, 1.0), is_needed=True)
    sweep.trials[-1].label = advice.CONFIRMED_PREFIX + sweep.trials[-1].label


def _any_ran(trials: Sequence[Trial], axis: str) -> bool:
    return any(one.comparison is not None for one in trials if one.axis == axis)


def _check(sweep: Sweep, found: _Findings, tell: Tell) -> None:
    confirmed = [one for one in found.trials if one.axis == advice.CONFIRMED]
    if not confirmed or advice.unconfirmed(confirmed) or confirmed[-1].comparison is None:
        found.notes.append("nothing is advised, so there is nothing to check")
        return
    comparison = confirmed[-1].comparison
    promise = {
        "speedup": 1 / comparison.ratio,
        "interval": [1 / comparison.interval[1], 1 / comparison.interval[0]],
    }
    tell("checking the advice in fresh processes")
    found.check, found.check_comparison = check_promise(
        sweep, found.trials[0].settings, confirmed[-1].settings, promise
    )


def outline_limit_s(target: Target, step_limit_s: float) -> float:
    """Return the seconds after which a target hangs before anything of it is built."""
    return step_limit_s if target.kind == FILE else max(OUTLINE_LIMIT_S, step_limit_s)


def resolve_settings(config: DiagnoseConfig, outline: dict[str, Any], cores: int) -> StepSettings:
    """Return the set-up as it is: what was given, else the target's own, else ours.

    Raises UsageError for a setting that the target does not take.
    """
    for name in config.given:
        if name not in outline["turnable"]:
            raise UsageError(
                f"--{name.replace('_', '-')}: {outline['name']} does not take {name}; it takes "
                f"{', '.join(outline['turnable'])}"
            )
    return StepSettings(**{"threads": cores, **outline["defaults"], **config.given})


def _record(
    config: DiagnoseConfig,
    target: Target,
    inventory: Inventory,
    found: _Findings,
    command: Sequence[str],
    is_complete: bool,
) -> Record:
    cores = default_threads(inventory)
    facts = {"cores_available": cores}
    first, *others = found.trials
    first_facts = {**facts, "diagnosis": _diagnosis(target, found)}
    reference = found.outline["name"]
    measurements: list[Measurement] = [
        first.as_measurement(reference, first_facts),
        *(one.as_measurement(reference, facts) for one in others),
    ]
    comparisons = [
        _relabelled(one.comparison, one.label) for one in others if one.comparison is not None
    ]
    machine = asdict(inventory)
    if found.ceilings is not None:
        machine["ceilings"] = asdict(found.ceilings)
    return new_record(
        "diagnose",
        command,
        machine,
        {**config.as_settings(), "resolved": first.settings.as_dict()},
        measurements=measurements,
        comparisons=comparisons,
        notes=list(dict.fromkeys(found.notes)),
        is_complete=is_complete,
    )


def _relabelled(comparison: Comparison, label: str) -> Comparison:
    """Return the comparison under the label that its trial has now."""
    old = comparison.variant
    if old == label:
        return comparison
    blocks = tuple(
        {**block, "seconds": {label if name == old else name: taken
                              for name, taken in block["seconds"].items()}}
        for block in comparison.blocks
    )  # fmt: skip
    outliers = {label if name == old else name: one for name, one in comparison.outliers.items()}
    return replace(comparison, variant=label, blocks=blocks, outliers=outliers)


def _diagnosis(target: Target, found: _Findings) -> dict[str, Any]:
    """Return what was found, beyond single measurements, as plain values."""
    first = found.trials[0]
    turnable = tuple(found.outline["turnable"])

    def command(settings: StepSettings) -> str:
        return command_for(target, settings, found.outline["facts"], turnable)

    shares = found.anatomy.get("phase_shares", {})
    return {
        "version": VERSION,
        "target": asdict(target),
        "turnable": turnable,
        "anatomy": found.anatomy,
        "suspects": advice.list_suspects(first, found.trials, shares),
        "advice": advice.list_advice(first, found.trials, command),
        "unconfirmed": advice.unconfirmed(found.trials),
        "no_help": advice.list_no_help(first, found.trials),
        "left_out": advice.list_left_out(found.trials),
        "savings": advice.savings(first, found.trials),
        "check": found.check,
        "check_blocks": found.check_comparison and [dict(b) for b in found.check_comparison.blocks],
    }
