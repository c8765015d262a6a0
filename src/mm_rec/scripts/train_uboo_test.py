"""Does the planning loss help? `python -m mm_rec.scripts.train_uboo_test --data_dir FOLDER`.

Trains with and without UBOO on the same data, seeds and initial weights, each run in a process of
its own, and compares steps to a target loss, final perplexity, the variance of the training loss,
memory and time. Ratios are of pairs with one seed; intervals are 95%, by bootstrap over the seeds.
"""

import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mm_rec.errors import ConfigError, TrainingError
from mm_rec.presets import PRESETS
from mm_rec.scripts.arguments import OneLineParser, add_flags, end_with_status
from mm_rec.training.configuration import TrainingConfig, resolve, setting

VARIANTS = ("baseline", "uboo")


@dataclass(frozen=True, kw_only=True)
class UbooTestConfig:
    """What to train in both ways."""

    data_dir: str | None = setting(None, "file or folder of texts; without it, the corpus")
    model_name: str = setting("mm-rec-1m-char", "preset of the model", *PRESETS)
    max_steps: int = setting(300, "optimizer steps of each run")
    batch_size: int | None = setting(None, "texts a step; as suits the preset")
    seq_len: int | None = setting(None, "tokens of each text; as suits the preset")
    learning_rate: float | None = setting(None, "peak learning rate; as suits the preset")
    seeds: int = setting(5, "pairs of runs; 2 or more")
    target_loss: float | None = setting(
        None, "validation loss to count the steps to; the lowest one that every run reaches"
    )
    use_amp: bool = setting(False, "compute in bfloat16 where that is safe")
    output: str | None = setting(None, "write a record of all runs to this file")

    def __post_init__(self) -> None:
        """Refuse what cannot be compared."""
        if self.seeds < 2:
            raise ConfigError(f"--seeds {self.seeds}: expected 2 or more, for an interval.")
        if self.max_steps < 10:
            raise ConfigError(f"--max_steps {self.max_steps}: expected 10 or more.")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run found."""

    variant: str
    seed: int
    losses: tuple[float, ...]  # training cross-entropy of every step, without the planning loss
    evaluations: tuple[tuple[int, float], ...]  # step and validation loss
    final_perplexity: float
    elapsed_s: float
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One figure, compared: medians over the seeds, and the ratio of UBOO to the baseline."""

    name: str
    baseline: float
    uboo: float
    ratio: float
    interval: tuple[float, float]

    @property
    def verdict(self) -> str:
        """Return which of the two has less of it, if the interval says so."""
        low, high = self.interval
        return "less with UBOO" if high < 1 else "more with UBOO" if low > 1 else "undecided"


def main(arguments: Sequence[str]) -> int:
    """Compare as the arguments say; return the exit status."""
    parser = OneLineParser(prog="train_uboo_test", description=__doc__)
    add_flags(parser, UbooTestConfig)
    config = UbooTestConfig(**vars(parser.parse_args(arguments)))
    with tempfile.TemporaryDirectory(prefix="mm-rec-uboo-") as folder:
        runs = train_all(config, Path(folder))
    target = config.target_loss or reachable_loss(runs)
    findings = compare(runs, target)
    _print(findings, config)
    if config.output is not None:
        _save(config, runs, findings, ["train_uboo_test", *arguments])
    return 0


def train_all(config: UbooTestConfig, folder: Path) -> list[Run]:
    """Return the runs of all seeds; which variant comes first alternates."""
    runs = []
    for seed in range(config.seeds):
        for variant in VARIANTS if seed % 2 == 0 else reversed(VARIANTS):
            print(f"seed {seed}: {variant}", file=sys.stderr, flush=True)
            runs.append(_train(config, variant, seed, folder))
    return runs


def _train(config: UbooTestConfig, variant: str, seed: int, folder: Path) -> Run:
    """Train once, in a process of its own."""
    from ivme.errors import IvmeError
    from ivme.measure.fresh_process import measure_in_fresh_process

    run_folder = folder / f"{variant}-{seed}"
    shared = TrainingConfig(
        data_dir=config.data_dir,
        model_name=config.model_name,
        max_steps=config.max_steps,
        batch_size=config.batch_size,
        seq_len=config.seq_len,
        learning_rate=config.learning_rate,
        use_amp=config.use_amp,
    )
    settings = {
        name: value for name, value in asdict(resolve(shared)).items() if value is not None
    } | {
        "seed": seed,
        "use_uboo": variant == "uboo",
        "checkpoint_dir": str(run_folder),
        "prepared_dir": str(folder / "prepared"),
        "log_interval": 1,
        "eval_interval": max(1, config.max_steps // 20),
        "sample_interval": 0,
        "checkpoint_interval": config.max_steps,
        "use_tensorboard": False,
    }
    try:
        fresh = measure_in_fresh_process(
            "mm_rec.scripts.uboo_runs:train",
            {"arguments": flags_of(settings), "run_folder": str(run_folder)},
        )
    except IvmeError as error:
        raise TrainingError(f"the run of {variant} with seed {seed} failed: {error}") from error
    found = fresh.value
    return Run(
        variant=variant,
        seed=seed,
        losses=tuple(found["losses"]),
        evaluations=tuple((step, loss) for step, loss in found["evaluations"]),
        final_perplexity=found["final_perplexity"],
        elapsed_s=found["elapsed_s"],
        peak_memory_bytes=fresh.peak_memory_bytes,
    )


def flags_of(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as the flags of a script."""
    flags = []
    for name, value in settings.items():
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        else:
            flags.append(f"--{name}={value}")
    return flags


def reachable_loss(runs: Sequence[Run]) -> float:
    """Return the lowest validation loss that every run reached on the way."""
    return max(min(loss for _, loss in run.evaluations) for run in runs)


def steps_to(run: Run, target: float) -> float:
    """Return the steps until the validation loss was as low, between evaluations in a line.

    Infinity if it never was.
    """
    before: tuple[int, float] | None = None
    for step, loss in run.evaluations:
        if loss <= target:
            if before is None:
                return float(step)
            share = (before[1] - target) / (before[1] - loss)
            return before[0] + share * (step - before[0])
        before = (step, loss)
    return math.inf


def loss_variance(run: Run) -> float:
    """Return the variance of the training loss in the second half, about its straight line."""
    losses = run.losses[len(run.losses) // 2 :]
    steps = range(len(losses))
    slope, intercept = statistics.linear_regression(steps, losses)
    return statistics.fmean(
        (loss - intercept - slope * step) ** 2 for step, loss in zip(steps, losses, strict=True)
    )


def compare(runs: Sequence[Run], target: float) -> list[Finding]:
    """Return every figure, compared over the pairs of runs.

    Raises ConfigError if a run never reached the target.
    """
    if any(math.isinf(steps_to(run, target)) for run in runs):
        raise ConfigError(
            f"--target_loss {target}: some run ends above it; the lowest loss that every run "
            f"reaches is {reachable_loss(runs):.4f}. Name a higher one, or more --max_steps."
        )
    figures: dict[str, Callable[[Run], float]] = {
        f"steps to a loss of {target:.3f}": lambda run: steps_to(run, target),
        "final perplexity": lambda run: run.final_perplexity,
        "variance of the loss": loss_variance,
        "peak memory, MB": lambda run: run.peak_memory_bytes / 1e6,
        "time, s": lambda run: run.elapsed_s,
    }
    return [_finding(name, figure, runs) for name, figure in figures.items()]


def _finding(name: str, figure: Callable[[Run], float], runs: Sequence[Run]) -> Finding:
    from ivme.measure.statistics import hierarchical_interval

    by_variant = {
        variant: {run.seed: figure(run) for run in runs if run.variant == variant}
        for variant in VARIANTS
    }
    baseline, uboo = (by_variant[variant] for variant in VARIANTS)
    ratios = [math.log(uboo[seed] / baseline[seed]) for seed in baseline]
    low, high = hierarchical_interval([[ratio] for ratio in ratios])
    return Finding(
        name=name,
        baseline=statistics.median(baseline.values()),
        uboo=statistics.median(uboo.values()),
        ratio=math.exp(statistics.median(ratios)),
        interval=(math.exp(low), math.exp(high)),
    )


def _print(findings: Sequence[Finding], config: UbooTestConfig) -> None:
    print(f"{config.model_name}, {config.seeds} seeds, {config.max_steps} steps each\n")
    print(f"{'':<26}{'baseline':>10}{'UBOO':>10}  {'ratio':>6}  {'95% interval':<14}")
    for one in findings:
        interval = f"{one.interval[0]:.3f}-{one.interval[1]:.3f}"
        print(
            f"{one.name:<26}{one.baseline:>10.4g}{one.uboo:>10.4g}  {one.ratio:>6.3f}  "
            f"{interval:<14}{one.verdict}"
        )


def _save(
    config: UbooTestConfig, runs: Sequence[Run], findings: Sequence[Finding], command: list[str]
) -> None:
    """Write the record of all runs: a measurement for each, and one for the comparison."""
    from ivme.hardware.inventory import read_inventory
    from ivme.measure.records import Measurement, new_record, save_record

    each = [
        Measurement(
            label=f"{run.variant}, seed {run.seed}",
            configuration={"model": config.model_name, "variant": run.variant, "seed": run.seed},
            peak_memory_bytes=run.peak_memory_bytes,
            facts={
                "losses": run.losses,
                "evaluations": run.evaluations,
                "final_perplexity": run.final_perplexity,
                "elapsed_s": run.elapsed_s,
            },
        )
        for run in runs
    ]
    compared = Measurement(
        label="uboo against baseline",
        configuration={"model": config.model_name},
        facts={"findings": [{**asdict(one), "verdict": one.verdict} for one in findings]},
    )
    record = new_record(
        "uboo",
        command,
        asdict(read_inventory(with_torch=True)),
        asdict(config),
        measurements=[*each, compared],
    )
    save_record(record, config.output or "")
    print(f"record: {config.output}", file=sys.stderr)


if __name__ == "__main__":
    end_with_status(main, "train_uboo_test")
