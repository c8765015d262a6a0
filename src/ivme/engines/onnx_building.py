"""From a loaded model to the files that ONNX Runtime runs, by kind of model.

Loads PyTorch; the sessions that run the files do not.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from ivme.engines import networks, onnx_graphs
from ivme.engines.encoding import encode_arrays, token_limits
from ivme.engines.onnx_export import TOLERANCE, Graph, export, largest_difference
from ivme.engines.protocol import EngineOptions
from ivme.models.interface import generation_ids

if TYPE_CHECKING:
    import numpy as np

    from ivme.models.loading import LoadedModel

ENCODER, STEP = "model.onnx", "step.onnx"
CALIBRATION_TEXTS = 128  # spread over those given: as many are enough for ranges
TRACED, CHECKED = (2, 7), (3, 12)  # batch and length: no two equal, so that none is taken for one
TRACED_PAST, CHECKED_PAST = 3, 5
# Axes that vary, by tensor: token ids, states before and after a step, states of an encoder.
TEXT = MappingProxyType({0: "batch", 1: "length"})
BEFORE, AFTER = (MappingProxyType({0: "batch", 2: name}) for name in ("past", "all"))
READ = MappingProxyType({0: "batch", 2: "length"})


def build_files(model: "LoadedModel", options: EngineOptions, folder: Path) -> dict[str, Any]:
    """Write the ONNX files of the model into the folder; return what running them takes.

    Raises:
        RefusedError: the model cannot be exported.
    """
    build = {"causal": _build_causal, "seq2seq": _build_seq2seq}.get(model.kind, _build_encoder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="onnx.") as work:
        return build(model, options, folder, Path(work))


def _build_encoder(
    model: "LoadedModel", options: EngineOptions, folder: Path, work: Path
) -> dict[str, Any]:
    names = networks.encoder_inputs(model)
    graph = Graph(
        network=networks.encoder_network(model),
        example=_encoder_inputs(model, names, *TRACED),
        check=_encoder_inputs(model, names, *CHECKED),
        outputs=("answer",),
        open_axes={**dict.fromkeys(names, TEXT), "answer": {0: "batch"}},
    )
    plain = _subfolder(work, "plain") / ENCODER
    export(model, graph, plain, options.threads)
    fused, notes = _fuse(model, graph, plain, _subfolder(work, "fused") / ENCODER)
    if options.precision == "int8-static":
        onnx_graphs.quantize_static(fused, folder / ENCODER, _batches(model, options, names))
    else:
        _write(fused, folder / ENCODER, options.precision)
    return {"inputs": names, "notes": notes}


def _fuse(
    model: "LoadedModel", graph: Graph, plain: Path, fused: Path
) -> tuple[Path, tuple[str, ...]]:
    """Return the fused file, or the plain one if fusing changes the answers; and notes."""
    config = model.model.config
    heads = getattr(config, "num_attention_heads", 0)
    hidden, layers = getattr(config, "hidden_size", 0), getattr(config, "num_hidden_layers", 0)
    try:
        onnx_graphs.fuse_encoder(plain, fused, heads=heads, hidden_size=hidden)
        difference = largest_difference(graph, fused)
    except Exception as error:  # the optimizer fails in many ways on graphs it does not know
        reason = str(error).strip().split("\n")[0]
        return plain, (f"fusions that did not fire: all (the optimizer stopped: {reason})",)
    if difference > TOLERANCE:
        return plain, (
            f"fusions that did not fire: all (with them answers are {difference:.1g} off)",
        )
    missing = onnx_graphs.fusions_missing(fused, layers=layers)
    return fused, (f"fusions that did not fire: {', '.join(missing)}",) if missing else ()


def _build_causal(
    model: "LoadedModel", options: EngineOptions, folder: Path, work: Path
) -> dict[str, Any]:
    shapes = networks.cache_shapes(model)
    past = [f"past_{number}" for number in range(len(shapes))]
    present = [f"present_{number}" for number in range(len(shapes))]
    open_axes = {
        "input_ids": {0: "batch", 1: "new"},
        "attention_mask": {0: "batch", 1: "all"},
        "logits": {0: "batch"},
        **dict.fromkeys(past, BEFORE),
        **dict.fromkeys(present, AFTER),
    }

    def inputs(batch: int, length: int, before: int) -> dict[str, torch.Tensor]:
        mask = _ones(batch, before + length)
        mask[0, :2] = 0  # padding on the left
        states = dict(zip(past, _states(shapes, batch, before), strict=True))
        return {"input_ids": _ids(model, batch, length), "attention_mask": mask, **states}

    graph = Graph(
        network=networks.CausalStep(model.model),
        example=inputs(*TRACED, TRACED_PAST),
        check=inputs(*CHECKED, CHECKED_PAST),
        outputs=("logits", *present),
        open_axes=open_axes,
    )
    export(model, graph, work / STEP, options.threads)
    _write(work / STEP, folder / STEP, options.precision)
    return {"states": shapes, "generation": generation_ids(model), "notes": ()}


def _build_seq2seq(
    model: "LoadedModel", options: EngineOptions, folder: Path, work: Path
) -> dict[str, Any]:
    shapes = networks.cache_shapes(model)
    encoder, step = _seq2seq_graphs(model, shapes)
    for graph, name in ((encoder, ENCODER), (step, STEP)):
        plain = _subfolder(work, name) / name
        export(model, graph, plain, options.threads)
        _write(plain, folder / name, options.precision)
    return {"states": shapes, "generation": generation_ids(model), "notes": ()}


def _seq2seq_graphs(
    model: "LoadedModel", shapes: tuple[tuple[int, int], ...]
) -> tuple[Graph, Graph]:
    """Return the encoder, once a text, and the decoder's step."""
    names = ("input_ids", "attention_mask")
    past = [f"past_{number}" for number in range(len(shapes))]
    cross = [f"cross_{number}" for number in range(len(shapes))]
    present = [f"present_{number}" for number in range(len(shapes))]
    read = dict.fromkeys(cross, READ)

    def step_inputs(batch: int, length: int, before: int) -> dict[str, torch.Tensor]:
        states = _states(shapes, batch, before) + _states(shapes, batch, length)
        return {
            "decoder_input_ids": _ids(model, batch, 1),
            "attention_mask": _encoder_inputs(model, names, batch, length)["attention_mask"],
            **dict(zip(past + cross, states, strict=True)),
        }

    encoder = Graph(
        network=networks.Seq2seqEncoder(model.model),
        example=_encoder_inputs(model, names, *TRACED),
        check=_encoder_inputs(model, names, *CHECKED),
        outputs=cross,
        open_axes={**dict.fromkeys(names, TEXT), **read},
    )
    step = Graph(
        network=networks.Seq2seqStep(model.model),
        example=step_inputs(*TRACED, TRACED_PAST),
        check=step_inputs(*CHECKED, CHECKED_PAST),
        outputs=("logits", *present),
        open_axes={
            "decoder_input_ids": {0: "batch", 1: "new"},
            "attention_mask": TEXT,
            "logits": {0: "batch"},
            **read,
            **dict.fromkeys(past, BEFORE),
            **dict.fromkeys(present, AFTER),
        },
    )
    return encoder, step


def _write(source: Path, target: Path, precision: str | None) -> None:
    if precision == "int8":
        onnx_graphs.quantize(source, target)
    else:
        onnx_graphs.save_whole(source, target)


def _batches(
    model: "LoadedModel", options: EngineOptions, names: tuple[str, ...]
) -> "Iterator[Mapping[str, np.ndarray]]":
    """Yield texts to take ranges from, one a batch, spread over those given."""
    texts = [text for text in options.calibration_texts if text]
    limits = token_limits(model, EngineOptions(max_length=options.max_length))
    for text in texts[:: max(1, len(texts) // CALIBRATION_TEXTS)][:CALIBRATION_TEXTS]:
        arrays = encode_arrays(model, [text], limits)
        yield {name: arrays[name] for name in names}


def _encoder_inputs(
    model: "LoadedModel", names: tuple[str, ...], batch: int, length: int
) -> dict[str, torch.Tensor]:
    """Return ids, a mask with padding on the right in its first row, and types."""
    mask = _ones(batch, length)
    mask[0, length - 2 :] = 0
    ids = _ids(model, batch, length)
    if model.kind == "masked":
        ids[:, 1] = model.tokenizer.mask_token_id
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: inputs[name] for name in names}


def _ids(model: "LoadedModel", batch: int, length: int) -> torch.Tensor:
    """Return token ids, the same at each call, that are no padding."""
    generator = torch.Generator().manual_seed(0)
    embeddings: Any = model.model.get_input_embeddings()
    ids = torch.randint(0, embeddings.num_embeddings, (batch, length), generator=generator)
    padding = model.tokenizer.pad_token_id
    return torch.where(ids == padding, (ids + 1) % embeddings.num_embeddings, ids)


def _states(
    shapes: tuple[tuple[int, int], ...], batch: int, length: int
) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn((batch, heads, length, size), generator=generator) for heads, size in shapes
    )


def _ones(batch: int, length: int) -> torch.Tensor:
    return torch.ones((batch, length), dtype=torch.int64)


def _subfolder(folder: Path, name: str) -> Path:
    """Return a folder of its own for one model: large ones have many files."""
    (folder / name).mkdir()
    return folder / name
