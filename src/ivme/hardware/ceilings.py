"""Ceilings: what this machine can do, measured.

The highest rate of matrix products in each precision through each library, and the bandwidth of
copies. Every way that cannot run here says why. Paths take turns, so that a disturbance on a
shared machine does not fall on one of them; the best sample counts, all are kept.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ivme.errors import RefusedError
from ivme.hardware.copies import CopyPath, accelerator_copy, copy_paths, prepare_copy
from ivme.hardware.inventory import Inventory
from ivme.hardware.products.product import PreparedProduct, ProductPath
from ivme.hardware.threads import default_threads, torch_threads

Now = Callable[[], float]  # seconds since an arbitrary start
Progress = Callable[[str], None]  # told what is measured next

CEILINGS_VERSION = 2  # raise it when there is another path to measure
SAMPLES_PER_TURN = 3
ENOUGH_TURNS = 40  # steady ones: more would swell the records and find nothing new
MOST_TURNS = 400
STEADY_SPREAD = 1.3  # median over best seconds
BUSY_SHARE = 0.25  # of all cores, taken by others: rates are no ceilings then
BUSY_WINDOW_S = 0.15
CONFIRMED_WITHIN = 1.15  # the third best sample over the best
LONGEST_CALL_SHARE = 1 / 10  # of a size's budget: a slower call is left out, and says so


@dataclass(frozen=True, kw_only=True)
class CeilingPlan:
    """How much to measure."""

    sizes: tuple[int, ...]  # n of the [n, n] products on the processor
    accelerator_sizes: tuple[int, ...]
    product_budget_s: float  # for one size, all paths together
    copy_budget_s: float  # for one working set
    name: str = "custom"


FULL_PLAN = CeilingPlan(
    name="full",
    sizes=(256, 512, 1024, 2048),
    accelerator_sizes=(2048, 4096, 8192),
    product_budget_s=2.0,
    copy_budget_s=0.6,
)
QUICK_PLAN = CeilingPlan(
    name="quick",
    sizes=(256, 1024),
    accelerator_sizes=(4096,),
    product_budget_s=0.6,
    copy_budget_s=0.15,
)


@dataclass(frozen=True, kw_only=True)
class SizeSamples:
    """Seconds of single products of one size, in the order taken."""

    size: int
    seconds: tuple[float, ...]

    @property
    def operations_per_s(self) -> float:
        """Return the rate of the best sample; a multiply and an add are two operations."""
        return 2 * self.size**3 / min(self.seconds)


@dataclass(frozen=True, kw_only=True)
class ProductRate:
    """The rate of matrix products through one path, or why there is none."""

    path: str
    library: str
    precision: str
    how: str
    device: str
    threads: int | None  # None on an accelerator
    operations_per_s: float | None  # best of all sizes; None: see `unavailable`
    best_size: int | None = None
    spread: float | None = None  # median over best seconds at that size; 1.0 is steady
    samples: tuple[SizeSamples, ...] = ()
    unavailable: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)  # size -> why not measured
    is_confirmed: bool = False  # three samples agree on the best


@dataclass(frozen=True, kw_only=True)
class CopyRate:
    """The bandwidth of copies within one level of memory."""

    level: str  # "L2", "L3", "memory"
    device: str
    threads: int | None
    working_set_bytes: int
    bytes_per_sample: int  # read and written
    bytes_per_s: float | None  # of the best sample; None: see `unavailable`
    spread: float | None = None
    seconds: tuple[float, ...] = ()
    unavailable: str | None = None
    is_confirmed: bool = False


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What this machine can do."""

    fingerprint: str  # of the inventory that was measured
    accelerators: tuple[str, ...]  # names of the usable ones
    plan: str  # "full", "quick"
    threads: int
    created_at: str  # ISO 8601, UTC
    elapsed_s: float
    products: tuple[ProductRate, ...]
    copies: tuple[CopyRate, ...]
    busy_share: float  # 0..1, of all cores, taken by others just before or after
    openvino_default_precision: str | None  # what it computes fp32 models in, unasked
    version: int = CEILINGS_VERSION

    @property
    def is_confirmed(self) -> bool:
        """Return whether every rate is a ceiling, not the leavings of a busy machine."""
        measured_products = [rate for rate in self.products if rate.operations_per_s is not None]
        measured_copies = [rate for rate in self.copies if rate.bytes_per_s is not None]
        confirmed = [rate.is_confirmed for rate in measured_products]
        confirmed += [rate.is_confirmed for rate in measured_copies]
        return all(confirmed) and self.busy_share <= BUSY_SHARE

    def best_product(
        self, precision: str, device: str = "cpu", library: str | None = None
    ) -> ProductRate | None:
        """Return the fastest path in a precision (through one library), None if none ran.

        device: as torch names it; "cuda" is "cuda:0".
        """
        rates = [
            rate
            for rate in self.products
            if rate.precision == precision
            and is_same_device(rate.device, device)
            and library in (None, rate.library)
            and rate.operations_per_s is not None
        ]
        return max(rates, key=lambda rate: rate.operations_per_s or 0.0, default=None)

    def product(self, path: str) -> ProductRate | None:
        """Return the rate of one path by name, None if it did not run."""
        for rate in self.products:
            if rate.path == path and rate.operations_per_s is not None:
                return rate
        return None

    def copy(self, level: str = "memory", device: str = "cpu") -> CopyRate | None:
        """Return the bandwidth of one level, None if it was not measured."""
        for rate in self.copies:
            is_there = rate.level == level and is_same_device(rate.device, device)
            if is_there and rate.bytes_per_s is not None:
                return rate
        return None


def is_same_device(one: str, other: str) -> bool:
    """Return whether two names mean the same device: without a number, the first of its kind."""
    return one.removesuffix(":0") == other.removesuffix(":0")


def measure_ceilings(
    inventory: Inventory,
    plan: CeilingPlan = FULL_PLAN,
    *,
    threads: int | None = None,
    paths: Sequence[ProductPath] | None = None,
    now: Now = time.perf_counter,
    progress: Progress | None = None,
) -> Ceilings:
    """Measure what the machine of this inventory can do; every library gets equal threads.

    inventory: read with torch. threads: None for all usable cores. paths: None for every way that
    ivme knows.
    """
    threads = threads or default_threads(inventory)
    tell = progress or (lambda text: None)
    start = now()
    busy_share = read_busy_share()
    with torch_threads(threads):
        products = _measure_products(inventory, plan, threads, paths, now, tell)
        copies = _measure_copies(inventory, plan, threads, now, tell)
    return Ceilings(
        fingerprint=inventory.fingerprint,
        accelerators=usable_accelerators(inventory),
        plan=plan.name,
        threads=threads,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        elapsed_s=now() - start,
        products=products,
        copies=copies,
        busy_share=max(busy_share, read_busy_share()),
        openvino_default_precision=_openvino_default_precision(),
    )


def read_busy_share() -> float:
    """Return the share of all cores that is busy now, while this process waits."""
    import psutil

    return psutil.cpu_percent(BUSY_WINDOW_S) / 100


def usable_accelerators(inventory: Inventory) -> tuple[str, ...]:
    """Return the names of the devices that torch can run on."""
    return tuple(device.name for device in inventory.accelerators if device.is_usable)


def processor_paths() -> tuple[ProductPath, ...]:
    """Return every way to a product on the processor."""
    from ivme.hardware.products import fused, onnxruntime, openvino, torch_cpu

    return (*torch_cpu.paths(), *onnxruntime.paths(), *openvino.paths(), *fused.paths())


def _accelerator_paths(inventory: Inventory) -> tuple[ProductPath, ...]:
    from ivme.hardware.products import torch_accelerator

    usable = [device for device in inventory.accelerators if device.is_usable]
    return tuple(path for device in usable for path in torch_accelerator.paths(device))


def _measure_products(
    inventory: Inventory,
    plan: CeilingPlan,
    threads: int,
    paths: Sequence[ProductPath] | None,
    now: Now,
    tell: Progress,
) -> tuple[ProductRate, ...]:
    chosen = paths if paths is not None else (*processor_paths(), *_accelerator_paths(inventory))
    on_processor = [path for path in chosen if path.device == "cpu"]
    on_accelerator = [path for path in chosen if path.device != "cpu"]
    tables = [_Products(on_processor, threads), _Products(on_accelerator, threads)]
    for table, sizes in zip(tables, (plan.sizes, plan.accelerator_sizes), strict=True):
        for size in sizes:
            if table.paths:
                tell(f"matrix products of {size} x {size}")
                table.measure(size, plan.product_budget_s, now)
    return tuple(rate for table in tables for rate in table.rates())


class _Products:
    """The samples of some paths as sizes grow, and what could not be sampled."""

    def __init__(self, paths: Sequence[ProductPath], threads: int) -> None:
        self.paths = paths
        self.threads = threads
        self.samples: dict[str, list[SizeSamples]] = {path.name: [] for path in paths}
        self.left_out: dict[str, dict[str, str]] = {path.name: {} for path in paths}
        self.unavailable: dict[str, str] = {}

    def measure(self, size: int, budget_s: float, now: Now) -> None:
        """Sample every path that can run a product of this size within the budget."""
        prepared = {}
        for path in self.paths:
            if path.name in self.unavailable or self._is_too_slow(path, size, budget_s):
                continue
            try:
                prepared[path.name] = _warmed_up(path, size, self.threads)
            # A library may fail in its own way on a processor we have not seen: the reason is
            # kept and shown, and the other paths are measured.
            except (RefusedError, RuntimeError, ImportError, NotImplementedError) as error:
                reason = str(error) or type(error).__name__
                self.unavailable[path.name] = reason.splitlines()[0]
        runs = {name: product.run for name, product in prepared.items()}
        for name, seconds in sample_in_turns(runs, budget_s, now).items():
            calls = prepared[name].calls_per_run
            single = tuple(value / calls for value in seconds)
            self.samples[name].append(SizeSamples(size=size, seconds=single))

    def rates(self) -> tuple[ProductRate, ...]:
        """Return one rate a path, in the order of the paths."""
        return tuple(self._rate(path) for path in self.paths)

    def _rate(self, path: ProductPath) -> ProductRate:
        samples = tuple(self.samples[path.name])
        best = max(samples, key=lambda taken: taken.operations_per_s, default=None)
        return ProductRate(
            path=path.name,
            library=path.library,
            precision=path.precision,
            how=path.how,
            device=path.device,
            threads=self.threads if path.device == "cpu" else None,
            operations_per_s=best.operations_per_s if best else None,
            best_size=best.size if best else None,
            spread=_spread(best.seconds) if best else None,
            is_confirmed=_is_confirmed(best.seconds) if best else False,
            samples=samples,
            unavailable=None if best else self.unavailable.get(path.name, "not measured"),
            left_out=self.left_out[path.name],
        )

    def _is_too_slow(self, path: ProductPath, size: int, budget_s: float) -> bool:
        """Return whether one call would eat the budget, by the sizes measured before."""
        if not self.samples[path.name]:
            return False
        expected_s = 2 * size**3 / self.samples[path.name][-1].operations_per_s
        if expected_s <= budget_s * LONGEST_CALL_SHARE:
            return False
        self.left_out[path.name][str(size)] = f"one call would take about {expected_s:.2g} s"
        return True


def _warmed_up(path: ProductPath, size: int, threads: int) -> PreparedProduct:
    product = path.prepare(size, threads)
    product.run()
    return product


def sample_in_turns(
    runs: Mapping[str, Callable[[], object]], budget_s: float, now: Now
) -> dict[str, tuple[float, ...]]:
    """Return the seconds of each run; they take turns until the budget is spent.

    A turn is SAMPLES_PER_TURN calls in a row: the first one after another library's turn may
    still share the cores with that library's idle threads. ENOUGH_TURNS steady turns end the
    sampling early; on a busy machine it goes on, to meet a quiet moment.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    end = now() + budget_s
    for turn in range(1, MOST_TURNS + 1):
        for name, run in runs.items():
            for _ in range(SAMPLES_PER_TURN):
                start = now()
                run()
                seconds[name].append(now() - start)
        is_steady = all(_spread(values) < STEADY_SPREAD for values in seconds.values())
        if now() >= end or (turn >= ENOUGH_TURNS and is_steady):
            break
    return {name: tuple(values) for name, values in seconds.items()}


def _measure_copies(
    inventory: Inventory, plan: CeilingPlan, threads: int, now: Now, tell: Progress
) -> tuple[CopyRate, ...]:
    usable = [device for device in inventory.accelerators if device.is_usable]
    rates = []
    for path in (*copy_paths(inventory), *map(accelerator_copy, usable)):
        tell(f"copies in {path.level}")
        rates.append(_measure_copy(path, plan.copy_budget_s, threads, now))
    return tuple(rates)


def _measure_copy(path: CopyPath, budget_s: float, threads: int, now: Now) -> CopyRate:
    facts: dict[str, Any] = {
        "level": path.level,
        "device": path.device,
        "threads": threads if path.device == "cpu" else None,
        "working_set_bytes": path.working_set_bytes,
    }
    try:
        run, moved_bytes = prepare_copy(path)
        run()
    except RuntimeError as error:  # torch's way to say that there is no memory
        reason = str(error).splitlines()[0]
        return CopyRate(**facts, bytes_per_sample=0, bytes_per_s=None, unavailable=reason)
    seconds = sample_in_turns({"copy": run}, budget_s, now)["copy"]
    return CopyRate(
        **facts,
        bytes_per_sample=moved_bytes,
        bytes_per_s=moved_bytes / min(seconds),
        spread=_spread(seconds),
        seconds=seconds,
        is_confirmed=_is_confirmed(seconds),
    )


def _spread(seconds: Sequence[float]) -> float:
    """Return median over best: how far a usual sample is from the ceiling."""
    return sorted(seconds)[len(seconds) // 2] / min(seconds)


def _is_confirmed(seconds: Sequence[float]) -> bool:
    best = sorted(seconds)[:3]
    return len(best) == 3 and best[2] <= CONFIRMED_WITHIN * best[0]


def _openvino_default_precision() -> str | None:
    from ivme.hardware.products.openvino import default_precision

    try:
        return default_precision()
    except (ImportError, RuntimeError):
        return None  # the OpenVINO paths tell why
