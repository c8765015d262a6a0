"""The space of a search: engines x precisions, batchings and thread counts that fit a model.

Nothing here runs anything. The order is by what the variants reached elsewhere, so that a budget
that runs out has tried the likeliest first; what is chosen is decided by measuring alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ivme.engines.batch_costs import BatchCost
from ivme.engines.batching import Batching
from ivme.engines.batching_choice import TOKEN_BUDGETS
from ivme.engines.buckets import choose_buckets
from ivme.engines.protocol import ArtefactEngine, Engine
from ivme.errors import IvmeError, UsageError
from ivme.tune.variants import Variant

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel
    from ivme.tune.configuration import TuneConfig

BASELINE = ("transformers", "float32")  # what everything is held against

# The likeliest first, from docs/measurements; others follow in the order of the registry.
LIKELY = (
    ("fused", "int8"),
    ("openvino", "int8-static"),
    ("openvino", "int8"),
    ("prepacked", "int8"),  # among the fastest of those that need no export
    ("openvino", "int4"),
    ("onnxruntime", "int8"),
    ("openvino", "bfloat16"),
    ("prepacked", "bfloat16"),
    ("transformers", "bfloat16"),
    ("torchao", "int8"),
    ("openvino", "float32"),
    ("prepacked", "float32"),
    ("compile", "autocast"),
    ("compile", "bfloat16"),
    ("onnxruntime", "int8-static"),
    ("transformers", "autocast"),
    ("onnxruntime", "float32"),
    ("compile", "float32"),
)
LAST = ("pipeline",)  # the same computation as by hand, with more around it

EXTRAS = {"bitsandbytes": "gpu", "triton": "gpu", "h2o": "h2o", "ray": "ray"}

MOST_TOGETHER = 64  # texts in a batch whose size follows from what batches cost

MOST_SHAPES = 4  # that single texts are padded to; each has weights of its own
SHAPED = ("openvino",)  # engines that compile the shape of a single text for itself

_COMPILING = ("compile", "torchao")
_COMPILE_S = 30.0  # of a small network; every bucket of shapes once
_START_S = 1.0
_EXPORT_BYTES_PER_S = {"fused": 200e6}  # of float32 weights, quantized and written
_USUAL_EXPORT_BYTES_PER_S = 30e6  # where libraries convert the network


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An engine and one of its precisions; `refusal` if it cannot be had here, and why."""

    engine: str
    precision: str
    refusal: str | None = None


def is_reference(one: Choice | Variant) -> bool:
    """Return whether it computes as what everything is held against, and so loses nothing."""
    return (one.engine, one.precision) == BASELINE


def choices_for(
    model: "LoadedModel",
    engines: Mapping[str, Engine | str],
    wanted: Sequence[str],
) -> list[Choice]:
    """Return every engine and precision to try, the likeliest first, and those that refuse.

    engines: by name; a text in place of an engine: why it cannot be had. wanted: names, or
    NAME:PRECISION; empty: all.

    Raises:
        UsageError: one that was asked for by name has no such precision.
    """
    choices: list[Choice] = []
    for name, engine in engines.items():
        picked = {one.partition(":")[2] for one in wanted if one.partition(":")[0] == name}
        if isinstance(engine, str):
            choices.append(Choice(engine=name, precision="", refusal=engine))
            continue
        unknown = picked - {"", *engine.precisions}
        if unknown:
            raise UsageError(
                f"engine={name}:{min(unknown)}; {name} computes in {', '.join(engine.precisions)}"
            )
        refusal = engine.refusal(model)
        choices += [
            Choice(engine=name, precision=precision, refusal=refusal)
            for precision in engine.precisions
            if not picked or "" in picked or precision in picked
        ]
    return sorted(choices, key=_likelihood)


def load_engines(names: Sequence[str]) -> dict[str, Engine | str]:
    """Return the engines by name; in place of one whose library is not installed, why not."""
    from ivme.engines.registry import get_engine

    engines: dict[str, Engine | str] = {}
    for name in names:
        try:
            engines[name] = get_engine(name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("ivme"):  # our own mistake
                raise
            engines[name] = not_installed(name, error)
    return engines


def not_installed(engine: str, error: ModuleNotFoundError) -> str:
    """Return the sentence for an engine whose library is missing, with what to install."""
    library = (error.name or str(error)).partition(".")[0]
    extra = EXTRAS.get(library)
    what = f"'ivme[{extra}]'" if extra else library
    return f"{engine} needs {library}, which is not installed: pip install {what}"


def why_unusable(engine: str, error: BaseException) -> str:
    """Return in one line why an engine could not be made ready."""
    if isinstance(error, ModuleNotFoundError):
        return not_installed(engine, error)
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if isinstance(error, IvmeError) else f"{type(error).__name__}: {line}"


def preparing_s(engine: Engine, model: "LoadedModel") -> float:
    """Return about how long the engine takes to make the model ready, before it was ever seen."""
    if isinstance(engine, ArtefactEngine):
        rate = _EXPORT_BYTES_PER_S.get(engine.name, _USUAL_EXPORT_BYTES_PER_S)
        return _START_S + model.parameters * 4 / rate
    return _COMPILE_S if engine.name in _COMPILING else _START_S


def baseline_variant(threads: int) -> Variant:
    """Return what everything is held against: float32 by hand, one text at a time."""
    engine, precision = BASELINE
    return Variant(engine=engine, precision=precision, threads=threads, batching=Batching())


def first_batching(objective: str) -> Batching:
    """Return the batching under which engines are compared with each other."""
    if objective == "latency":
        return Batching()
    return Batching(batch_size=MOST_TOGETHER, order="packed")


def shapes_for(engine: str, lengths: Sequence[int]) -> list[Batching]:
    """Return how single texts of these lengths in tokens can be padded to a few shapes."""
    if engine not in SHAPED:
        return []
    buckets = choose_buckets(lengths)
    if not buckets or len(buckets) > MOST_SHAPES:
        return []
    return [Batching(padding="bucketed", buckets=buckets)]


def other_batchings(config: "TuneConfig", cost: BatchCost) -> list[Batching]:
    """Return the batches to try besides the first; cost: as measured of the variant."""
    packed = Batching(batch_size=MOST_TOGETHER, order="packed", cost=cost)
    by_tokens = [replace(packed, max_batch_tokens=tokens) for tokens in TOKEN_BUDGETS]
    by_size = [Batching(batch_size=size, order="sorted") for size in config.batch_sizes]
    return [packed, *by_tokens, *by_size, Batching()]


def thread_counts(config: "TuneConfig", usable_cores: int) -> tuple[int, ...]:
    """Return the thread counts to try; the first is the one that engines are compared with."""
    if config.threads:
        return config.threads
    return tuple(dict.fromkeys((usable_cores, max(1, usable_cores // 2))))


def other_threads(variant: Variant, threads: Sequence[int], objective: str) -> list[Variant]:
    """Return the variant on other numbers of threads, and split into streams of one thread.

    Streams use as many threads together as the first count; they answer several batches at a
    time, which a single text cannot use.
    """
    others = [replace(variant, threads=count) for count in threads[1:]]
    if objective == "throughput" and threads[0] > 1:
        batching = replace(variant.batching, streams=threads[0])
        others.append(replace(variant, threads=1, batching=batching))
    return others


def _likelihood(choice: Choice) -> tuple[int, int]:
    pair = (choice.engine, choice.precision)
    if pair == BASELINE:
        return (0, 0)
    if choice.engine in LAST:
        return (3, 0)
    return (1, LIKELY.index(pair)) if pair in LIKELY else (2, 0)
