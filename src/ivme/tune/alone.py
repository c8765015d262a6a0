"""A variant alone in a fresh process: the memory that it takes once deployed.

Engines that export run without the model there; the others load it.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.engines.artefacts import cached_artefact
from ivme.engines.batch_costs import cost_from
from ivme.engines.batching import Batching, predict_all
from ivme.engines.protocol import ArtefactEngine, EngineOptions
from ivme.engines.registry import get_engine
from ivme.engines.streams import SessionPool, prepare_streams
from ivme.errors import IvmeError
from ivme.measure.fresh_process import measure_in_fresh_process
from ivme.models.interface import ModelInterface
from ivme.tune.variants import Variant

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel


def peak_memory_alone(
    variant: Variant, model: "LoadedModel", options: EngineOptions, texts: Sequence[str]
) -> int | None:
    """Return the peak memory of a process that runs the variant once over the texts, in bytes.

    Growth since after the import of ivme; on CUDA the memory of the device. None if it failed
    there.
    """
    engine, own = get_engine(variant.engine), variant.options(options)
    with tempfile.TemporaryDirectory(prefix="ivme-") as folder:
        artefact = None
        if isinstance(engine, ArtefactEngine):
            artefact = str(cached_artefact(engine, model, own))
            ModelInterface.of(model).save(Path(folder))
        arguments = {
            "engine": variant.engine,
            "model": str(model.folder),
            "kind": model.kind,
            "device": model.device,
            "artefact": artefact,
            "interface": folder,
            "options": asdict(own),
            "batching": asdict(variant.batching),
            "texts": list(texts),
        }
        try:
            run = measure_in_fresh_process("ivme.tune.alone:run_alone", arguments)
        except IvmeError:
            return None
    return run.cuda_peak_memory_bytes or run.peak_memory_bytes


def run_alone(
    engine: str,
    model: str,
    kind: str,
    device: str,
    artefact: str | None,
    interface: str,
    options: Mapping[str, Any],
    batching: Mapping[str, Any],
    texts: Sequence[str],
) -> int:
    """Run the texts once, in a process of its own; return how many there were."""
    sequences = {name: tuple(options[name]) for name in ("calibration_texts", "buckets")}
    own = EngineOptions(**{**options, **sequences})
    runner = get_engine(engine)
    together = Batching(**{**batching, "cost": cost_from(batching["cost"]), "buckets": own.buckets})
    if artefact is not None:
        assert isinstance(runner, ArtefactEngine)
        pool = SessionPool(
            [
                runner.open(Path(artefact), ModelInterface.load(Path(interface)), own)
                for _ in range(together.streams)
            ]
        )
    else:
        from ivme.models.loading import load_model

        loaded = load_model(model, kind=kind, device=device)
        pool = prepare_streams(runner, loaded, own, together.streams)
    return len(predict_all(pool, texts, together))
