"""Traps: what makes a model slow, or a comparison void, without any error.

Each rule gets plain facts and returns the traps that it finds, with what each costs and what to do.
Rules that must look into a model's weights or run it are in denormals.py. To add one: a function
here, and a line in the `find_` function of the moment at which its facts are known.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from shutil import which
from typing import TYPE_CHECKING

from ivme.hardware.inventory import Inventory
from ivme.hardware.processor import Processor

if TYPE_CHECKING:
    from ivme.engines.protocol import Session
    from ivme.models.loading import LoadedModel

MOST_PADDING = 0.2  # of all computed tokens
MOST_BUSY = 0.25  # of all cores, taken by others
BF16_SETS = ("avx512_bf16", "amx_bf16", "bf16")
FP16_SETS = ("avx512_fp16", "neon")
INT8_SETS = ("avx512_vnni", "avx_vnni", "amx_int8", "dotprod", "i8mm")
COUNTING_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
TORCHAO_PATTERNS = "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer"
COMPILERS = ("c++", "g++", "clang++")
TORCHAO = "torchao fast path"
FUSIONS = "fusions that did not fire"  # what engines' notes on them contain


@dataclass(frozen=True, kw_only=True)
class Trap:
    """One trap: what was found, what it costs, what to do. Sentences without their full stop."""

    name: str
    found: str
    cost: str
    action: str

    def __str__(self) -> str:
        return f"{self.name}: {self.found}; {self.cost}. {self.action}."


def find_machine_traps(inventory: Inventory) -> list[Trap]:
    """Return the traps of a machine that can be told before a model is named."""
    environment, versions = inventory.environment, inventory.versions
    has_cuda = any(device.kind == "cuda" and device.is_usable for device in inventory.accelerators)
    return [
        *disagreeing_variables(environment),
        *missing_compiler(),
        *precision_traps("bfloat16", "cpu", inventory.processor),
        *precision_traps("int8", "cpu", inventory.processor),
        *(missing_torchao_path(has_torchao_path()) if "torchao" in versions else ()),
        *missing_accelerate("accelerate" in versions, has_cuda=has_cuda),
    ]


def find_place_traps(
    inventory: Inventory, threads: Mapping[str, int], busy_share: float
) -> list[Trap]:
    """Return the traps of running here and now.

    threads: what runs -> the threads that it uses. busy_share: of all cores, taken by others, as
    ivme.hardware.ceilings.read_busy_share reads it while nothing of ours runs.
    """
    return [
        *unequal_threads(threads),
        *oversubscription(inventory.processor, max(threads.values(), default=1), busy_share),
    ]


def find_model_traps(model: "LoadedModel", texts: Sequence[str] = ()) -> list[Trap]:
    """Return the traps of a loaded model; it runs once on the texts, if any, to find denormals."""
    from ivme.engines.denormals import denormal_activations, denormal_weights

    classes = type(model.model)
    return [
        *automatic_dtype(saved_dtype(model), model.dtype),
        *slow_attention(model.attention, has_sdpa=bool(getattr(classes, "_supports_sdpa", False))),
        *missing_accelerate(
            find_spec("accelerate") is not None, has_cuda=model.device.startswith("cuda")
        ),
        *denormal_weights(model),
        *(denormal_activations(model, texts) if texts else ()),
    ]


def find_session_traps(engine: str, session: "Session", asked: str | None) -> list[Trap]:
    """Return the traps that a prepared session shows; asked: the precision it was asked for."""
    return [
        *other_precision(engine, session.precision, asked),
        *missing_fusions(engine, session.notes),
        *missing_torchao_path(not any(note.startswith(TORCHAO) for note in session.notes)),
        *precision_traps(session.precision, _device(session)),
    ]


def session_remarks(engine: str, session: "Session", asked: str | None) -> list[str]:
    """Return a session's notes and traps, each once, for a record or a reader."""
    traps = find_session_traps(engine, session, asked)
    return list(dict.fromkeys([*session.notes, *map(str, traps)]))


def precision_traps(
    precision: str, device: str, processor: Processor | None = None
) -> tuple[Trap, ...]:
    """Return the traps of computing in a precision on a device; processor: None for this one's."""
    if not device.startswith("cpu"):
        return ()
    processor = processor or _this_processor()
    if precision in ("bfloat16", "autocast") and not processor.has(*BF16_SETS):
        return (_emulated("bfloat16", "AVX512_BF16 or AMX", processor),)
    if precision == "float16" and not processor.has(*FP16_SETS):
        return (_emulated("float16", "AVX512_FP16", processor),)
    if precision.startswith("int8") and not processor.has(*INT8_SETS):
        return (_int8_without_dot_products(processor),)
    return ()


def disagreeing_variables(environment: Mapping[str, str]) -> tuple[Trap, ...]:
    """Return the trap of variables that give libraries different numbers of threads."""
    counts = {name: environment[name] for name in COUNTING_VARIABLES if name in environment}
    if len(set(counts.values())) < 2:
        return ()
    return unequal_threads({name: int(count) for name, count in counts.items() if count.isdigit()})


def unequal_threads(threads: Mapping[str, int]) -> tuple[Trap, ...]:
    """Return the trap of engines or libraries that would not run with equal threads."""
    if len(set(threads.values())) < 2:
        return ()
    listed = ", ".join(f"{name} {count}" for name, count in threads.items())
    return (
        Trap(
            name="unequal threads",
            found=f"threads differ: {listed}",
            cost="a comparison of them measures the threads, not the engines",
            action="Give all the same number, --threads N",
        ),
    )


def oversubscription(processor: Processor, threads: int, busy_share: float) -> tuple[Trap, ...]:
    """Return the trap of more running threads than there are cores for them."""
    usable, quota = processor.usable_cores, processor.quota_cores
    if threads > usable:
        why = f"{usable} cores are usable"
        if quota is not None and quota < processor.affinity_cores:
            why = f"the container's quota is {quota:g} cores"
        return (
            Trap(
                name="oversubscription",
                found=f"{threads} threads, but {why}",
                cost="threads wait for cores, and all wait for the last one at each operation",
                action=f"Use --threads {usable}",
            ),
        )
    if busy_share <= MOST_BUSY:
        return ()
    return (
        Trap(
            name="oversubscription",
            found=f"other processes take {busy_share:.0%} of the cores",
            cost="two threads on a core that others use can be a hundred times slower than one",
            action="Wait until they are done, use fewer threads, or set OMP_WAIT_POLICY=passive, "
            "and compare within one run only",
        ),
    )


def padding_waste(padding_share: float, order: str) -> tuple[Trap, ...]:
    """Return the trap of batches that compute mostly padding.

    padding_share: of all computed tokens, 0 to 1; order: of ivme.engines.batching.Batching.
    """
    if padding_share <= MOST_PADDING:
        return ()
    is_sorted = order != "given"
    return (
        Trap(
            name="padding waste",
            found=f"{padding_share:.0%} of the computed tokens are padding",
            cost=f"about {1 / (1 - padding_share):.1f} times the work that the texts need",
            action="Use smaller batches" if is_sorted else "Sort them by length, --order sorted",
        ),
    )


def automatic_dtype(saved: str | None, used: str) -> tuple[Trap, ...]:
    """Return the trap of a model that programs load in less than float32 without asking for it."""
    if saved in (None, "float32", used):
        return ()
    return (
        Trap(
            name='dtype "auto"',
            found=f"config.json says {saved}, and this run uses {used}",
            cost=f"programs that name no dtype run it in {saved} since Transformers 5 (dtype "
            '"auto"), so their figures are not comparable',
            action=f"Name the dtype in every program that is compared: dtype={used}",
        ),
    )


def slow_attention(attention: str, *, has_sdpa: bool) -> tuple[Trap, ...]:
    """Return the trap of attention that writes out every score, where the model has a fused one."""
    if attention != "eager" or not has_sdpa:
        return ()
    return (
        Trap(
            name="attention implementation",
            found="the model runs attention='eager' and has 'sdpa'",
            cost="memory and time for a score of every pair of tokens",
            action="Use attention=sdpa",
        ),
    )


def missing_accelerate(is_installed: bool, *, has_cuda: bool) -> tuple[Trap, ...]:
    """Return the trap of a GPU without accelerate, which places models there."""
    if is_installed or not has_cuda:
        return ()
    return (
        Trap(
            name="accelerate missing",
            found="there is a GPU, and accelerate is not installed",
            cost="Transformers loads every model on the CPU first, and neither device_map nor "
            "bitsandbytes works",
            action="Install it: pip install 'ivme[gpu]'",
        ),
    )


def missing_compiler() -> tuple[Trap, ...]:
    """Return the trap of torch.compile without a C++ compiler."""
    if find_compiler() is not None:
        return ()
    return (
        Trap(
            name="C++ compiler missing",
            found=f"none of {', '.join(COMPILERS)} is on the path",
            cost="torch.compile makes no code for the CPU, so engines compile and torchao refuse",
            action="Install one (Debian: apt install g++), or set CXX to its path",
        ),
    )


def missing_torchao_path(is_registered: bool) -> tuple[Trap, ...]:
    """Return the trap of torchao without its int8 patterns for x86."""
    if is_registered:
        return ()
    return (
        Trap(
            name=TORCHAO,
            found="torchao's int8 patterns for x86 are not registered with torch.compile",
            cost="each int8 layer runs as several unfused operations",
            action=f"Install torchao 0.18, whose {TORCHAO_PATTERNS} engine=torchao imports before "
            "compiling, or use engine=prepacked:int8",
        ),
    )


def missing_fusions(engine: str, notes: Sequence[str]) -> tuple[Trap, ...]:
    """Return the trap of an exported graph whose operators stayed apart, as the engine noted."""
    return tuple(
        Trap(
            name="fusions",
            found=f"{engine}: {note}",
            cost="each operator reads and writes memory by itself",
            action="Compare with engine=openvino, which finds its fusions in another way",
        )
        for note in notes
        if FUSIONS in note
    )


def other_precision(engine: str, used: str, asked: str | None) -> tuple[Trap, ...]:
    """Return the trap of an engine that computes in less than it was asked for."""
    if asked is None or used == asked:
        return ()
    return (
        Trap(
            name="silent precision",
            found=f"{engine} computes in {used} where {asked} was asked for",
            cost="its answers and its speed are those of another precision",
            action=f"Compare it as {engine}:{used}; OpenVINO obeys INFERENCE_PRECISION_HINT",
        ),
    )


def saved_dtype(model: "LoadedModel") -> str | None:
    """Return the precision that the model's config.json names, None if it names none."""
    config = json.loads((model.folder / "config.json").read_text(encoding="utf-8"))
    named: str | None = config.get("dtype") or config.get("torch_dtype")
    return named


def find_compiler() -> str | None:
    """Return the C++ compiler that torch.compile would call, None if there is none."""
    import os

    named = os.environ.get("CXX")
    return next((path for name in (named, *COMPILERS) if name and (path := which(name))), None)


def has_torchao_path() -> bool:
    """Return whether torchao's int8 patterns for x86 can be registered: their module is there."""
    try:
        return find_spec(TORCHAO_PATTERNS) is not None
    except ImportError:
        return False


def _device(session: "Session") -> str:
    model = getattr(session, "model", None)
    return str(getattr(model, "device", "cpu"))


@cache
def _this_processor() -> Processor:
    from ivme.hardware.processor import read_processor

    return read_processor(None)


def _emulated(precision: str, needed: str, processor: Processor) -> Trap:
    return Trap(
        name=f"emulated {precision}",
        found=f"{processor.name} has no {needed}",
        cost=f"{precision} is computed through float32 and saves memory alone: float16 took 3.5 "
        "times as long as float32 on such a processor",
        action="Use float32 or int8 here",
    )


def _int8_without_dot_products(processor: Processor) -> Trap:
    return Trap(
        name="int8 without VNNI",
        found=f"{processor.name} has no int8 dot products (VNNI)",
        cost="int8 gains little over float32, and some libraries' sums can saturate",
        action="Measure it against float32 before use",
    )
