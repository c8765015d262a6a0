"""Advice about a machine: what its facts and measured ceilings say to do.

Each rule is a pure function of the inventory and the ceilings and gives at most one piece of
advice; where the facts say nothing, it gives none.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ivme.hardware.ceilings import BUSY_SHARE, STEADY_SPREAD, Ceilings, ProductRate
from ivme.hardware.inventory import Inventory
from ivme.hardware.threads import LIBRARY_VARIABLES

GIB = 1 << 30
WORTH_SAYING = 1.25  # a ratio below this is not worth a change of library
SMALL_MEMORY_BYTES = 4 * GIB
LOW_AVAILABLE_SHARE = 0.25
SEVERITIES = ("warning", "tip", "fact")


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One finding, and what to do about it."""

    severity: str  # "warning": something is wrong; "tip": speed to be had; "fact": good to know
    topic: str
    finding: str
    action: str


Rule = Callable[[Inventory, Ceilings], Advice | None]


def advise(inventory: Inventory, ceilings: Ceilings) -> list[Advice]:
    """Return what the facts and figures say to do, warnings first."""
    given = [advice for rule in RULES if (advice := rule(inventory, ceilings)) is not None]
    return sorted(given, key=lambda advice: SEVERITIES.index(advice.severity))


def _ratio(faster: ProductRate | None, slower: ProductRate | None) -> float | None:
    """Return how many times as fast one path is, None unless both rates are confirmed."""
    if faster is None or slower is None or not (faster.is_confirmed and slower.is_confirmed):
        return None
    return (faster.operations_per_s or 0.0) / (slower.operations_per_s or 1.0)


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times"


def _too_many_threads(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    usable = inventory.processor.usable_cores
    for name in LIBRARY_VARIABLES:
        value = inventory.environment.get(name, "")
        if value.isdigit() and int(value) > usable:
            return Advice(
                severity="warning",
                topic="threads",
                finding=f"{name}={value}, but {usable} cores are usable: threads wait for cores.",
                action=f"Unset {name}, or set {name}={usable}.",
            )
    return None


def _too_few_threads(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    usable, value = inventory.processor.usable_cores, inventory.environment.get("OMP_NUM_THREADS")
    if value is None or not value.isdigit() or int(value) >= usable:
        return None
    return Advice(
        severity="warning",
        topic="threads",
        finding=f"OMP_NUM_THREADS={value} leaves {usable - int(value)} of {usable} cores idle.",
        action="Unset OMP_NUM_THREADS, unless other processes need those cores.",
    )


def _quota_below_cores(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    processor = inventory.processor
    quota = processor.quota_cores
    if quota is None or quota >= processor.affinity_cores:
        return None
    return Advice(
        severity="warning",
        topic="quota",
        finding=(
            f"The container may use {quota:g} cores of processor time but sees "
            f"{processor.affinity_cores}: libraries that count cores start too many threads."
        ),
        action=f"Set OMP_NUM_THREADS={processor.usable_cores} in the container, or pin its cores.",
    )


def _unusable_accelerator(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    for device in inventory.accelerators:
        if device.is_usable is False:
            return Advice(
                severity="warning",
                topic="GPU",
                finding=f"{device.name} stands idle: {device.reason}.",
                action="Install the torch build for it: https://pytorch.org/get-started/locally/",
            )
    return None


def _triton_missing(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    has_cuda = any(device.kind == "cuda" and device.is_usable for device in inventory.accelerators)
    if not has_cuda or "triton" in inventory.versions:
        return None
    return Advice(
        severity="warning",
        topic="GPU",
        finding="CUDA works but triton is not installed, so torch.compile makes no GPU kernels.",
        action="pip install triton",
    )


def _small_memory(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    memory = inventory.memory
    is_small = memory.total_bytes < SMALL_MEMORY_BYTES
    is_taken = memory.available_bytes < LOW_AVAILABLE_SHARE * memory.total_bytes
    if not (is_small or is_taken):
        return None
    of = "allowed by the container" if memory.limit_bytes else "installed"
    parameters = memory.available_bytes / 2 / 4  # half of it for weights, 4 bytes each in fp32
    return Advice(
        severity="warning",
        topic="memory",
        finding=(
            f"{memory.available_bytes / GIB:.1f} GiB are available of "
            f"{memory.total_bytes / GIB:.1f} GiB {of}."
        ),
        action=f"Keep fp32 models below about {parameters / 1e6:.0f} million parameters here.",
    )


def _slow_fp32_in_torch(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    plain, best = ceilings.product("torch-fp32"), ceilings.best_product("fp32")
    ratio = _ratio(best, plain)
    if best is None or ratio is None or ratio < WORTH_SAYING:
        return None
    blas = {"mkl": "MKL", "open": "OpenBLAS"}.get(inventory.torch.blas if inventory.torch else "")
    return Advice(
        severity="tip",
        topic="fp32",
        finding=(
            f"torch's own fp32 products ({blas or 'its BLAS'} on {inventory.processor.vendor}) "
            f"are slow here: {best.library} ({best.how}) is {_times(ratio)} "
            "as fast."
        ),
        action="Run fp32 models by engine prepacked, compile, onnxruntime or openvino.",
    )


def _bf16(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    fp32, bf16 = ceilings.best_product("fp32"), ceilings.best_product("bf16")
    ratio = _ratio(bf16, fp32)
    if ratio is None:
        return None
    is_native = inventory.processor.has("avx512_bf16", "amx_bf16", "bf16")
    if ratio >= WORTH_SAYING:
        how = "natively" if is_native else "without instructions for it"
        return Advice(
            severity="tip",
            topic="bf16",
            finding=(
                f"bf16 runs {how}: the best bf16 product is {_times(ratio)} as fast as the best "
                "fp32 product."
            ),
            action="Use bf16 weights where quality allows.",
        )
    if not is_native:
        return Advice(
            severity="tip",
            topic="bf16",
            finding=f"bf16 is emulated: {_times(ratio)} the rate of the best fp32 product.",
            action="Stay in fp32, or go to int8; bf16 saves memory only.",
        )
    return None


def _int8(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    fp32, int8 = ceilings.best_product("fp32"), ceilings.best_product("int8")
    ratio = _ratio(int8, fp32)
    if int8 is None or ratio is None:
        return None
    has_dot = inventory.processor.has("avx512_vnni", "avx_vnni", "amx_int8", "dotprod", "i8mm")
    without = "" if has_dot else " The processor has no int8 dot products (VNNI)."
    if ratio >= WORTH_SAYING:
        return Advice(
            severity="tip",
            topic="int8",
            finding=(
                f"The best int8 product ({int8.library}, {int8.how}) is {_times(ratio)} as fast "
                f"as the best fp32 product.{without}"
            ),
            action="Quantize, and check the answers against the fp32 model.",
        )
    return Advice(
        severity="tip",
        topic="int8",
        finding=f"int8 gains little: {_times(ratio)} the best fp32 product.{without}",
        action="Quantize for memory, not for speed.",
    )


def _signed_activations(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    unsigned = ceilings.product("onnxruntime-int8-u8s8")
    signed = ceilings.product("onnxruntime-int8-s8s8")
    ratio = _ratio(unsigned, signed)
    if ratio is None or ratio < 2:
        return None
    return Advice(
        severity="tip",
        topic="int8",
        finding=(
            "ONNX Runtime multiplies signed activations (S8S8) "
            f"{_times(ratio)} slower than unsigned ones (U8S8)."
        ),
        action="Quantize activations to uint8 for ONNX Runtime.",
    )


def _openvino_precision(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    used = ceilings.openvino_default_precision
    if used in (None, "fp32"):
        return None
    return Advice(
        severity="tip",
        topic="OpenVINO",
        finding=f"OpenVINO computes fp32 models in {used} here without being asked.",
        action="Set INFERENCE_PRECISION_HINT=f32 where fp32 answers are needed.",
    )


def _busy(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    measured = [rate for rate in ceilings.products if rate.spread is not None]
    unsteady = [rate for rate in measured if (rate.spread or 1.0) > STEADY_SPREAD]
    if len(unsteady) * 3 > len(measured):
        seen = f"in {len(unsteady)} of {len(measured)} products most samples were far off the best"
    elif ceilings.busy_share > BUSY_SHARE:
        seen = f"others took {ceilings.busy_share:.0%} of its cores"
    else:
        return None
    return Advice(
        severity="warning",
        topic="noise",
        finding=f"The machine was busy or shared when the rates were measured: {seen}.",
        action="Run `ivme doctor --refresh` when it is quiet; compare within one run only.",
    )


def _hugepages(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    if inventory.system.transparent_hugepages != "never":
        return None
    return Advice(
        severity="tip",
        topic="memory",
        finding="Transparent huge pages are off: large weights cost more address translations.",
        action="echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
    )


def _generation_bound(inventory: Inventory, ceilings: Ceilings) -> Advice | None:
    copy = ceilings.copy("memory")
    if copy is None or copy.bytes_per_s is None or not copy.is_confirmed:
        return None
    tokens_per_s = copy.bytes_per_s / 1e9
    return Advice(
        severity="fact",
        topic="generation",
        finding=(
            "Generating one text at a time reads every weight for each token: at the measured "
            f"bandwidth about {tokens_per_s:.0f} tokens/s with 1 GB of weights."
        ),
        action="Halve the bytes a weight takes to double that limit, or generate in batches.",
    )


RULES: tuple[Rule, ...] = (
    _too_many_threads,
    _too_few_threads,
    _quota_below_cores,
    _unusable_accelerator,
    _triton_missing,
    _small_memory,
    _busy,
    _slow_fp32_in_torch,
    _bf16,
    _int8,
    _signed_activations,
    _openvino_precision,
    _hugepages,
    _generation_bound,
)
