"""Models to OpenVINO's files: conversion, compression and quantization.

Loads PyTorch and NNCF; the sessions that run the files do not.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.engines.encoding import encode, encode_arrays, token_limits
from ivme.engines.openvino_embeddings import look_up_before_scaling
from ivme.engines.openvino_encoder import MODEL_FILE
from ivme.engines.openvino_narrowing import compute_picked_positions_alone
from ivme.engines.openvino_quiet import quiet_openvino
from ivme.engines.openvino_runtime import compile_config, first_line
from ivme.engines.protocol import EngineOptions
from ivme.errors import IvmeError, RefusedError
from ivme.hardware.signal_stack import kept_signal_stack
from ivme.models.corpus import corpus_documents

if TYPE_CHECKING:
    import torch

    from ivme.models.loading import LoadedModel

CALIBRATION_TEXTS = 64  # enough for ranges; BERT-base takes about 15 s on one core
CALIBRATION_TOKENS = 128  # a text; longer ones are cut for calibration
SAME = 1e-3  # float32 sums in another order, through many layers
TRACED_TEXTS = ("Return the value.", "A text of another length, padded or not.")


def write_encoder(model: "LoadedModel", options: EngineOptions, folder: Path) -> dict[str, Any]:
    """Write a classifier, masked or embedding model; return what was decided.

    Raises:
        RefusedError: OpenVINO cannot convert it.
    """
    from ivme.engines.networks import encoder_inputs
    from ivme.engines.openvino_networks import openvino_encoder_network

    names = encoder_inputs(model)
    batch = encode(model, _in_kind(model, TRACED_TEXTS), token_limits(model, EngineOptions()))
    example = {name: batch[name] for name in names}
    with conversion(model, options):
        module = openvino_encoder_network(model)
        network = convert(module, example)
        alone = compute_picked_positions_alone(network)
        check_same(network, module, {name: rows[1:] for name, rows in example.items()}, model)
        if options.precision == "int8-static":
            network, notes = _calibrated(network, model, options, names, alone)
        else:
            network, notes = compressed(network, options.precision), ()
        look_up_before_scaling(network)
        save(network, folder / MODEL_FILE)
    return {"notes": notes}


@contextmanager
def conversion(model: "LoadedModel", options: EngineOptions) -> Iterator[None]:
    """Run a conversion quietly, on the session's threads, and name the model where it fails."""
    from ivme.hardware.threads import torch_threads

    try:
        with kept_signal_stack(), quiet_openvino(), torch_threads(options.threads):
            yield
    except IvmeError:
        raise
    except Exception as error:
        raise RefusedError(
            f"OpenVINO cannot convert {model.reference} ({type(model.model).__name__}): "
            f"{first_line(error)}; use engine=transformers"
        ) from error


def convert(network: "torch.nn.Module", example: "Mapping[str, torch.Tensor]") -> Any:
    """Return the network as an OpenVINO model whose inputs have the example's names.

    Batch and length stay open; of states [B, H, T, D], heads and size are as in the example.
    """
    import openvino
    import torch

    with torch.inference_mode():
        model = openvino.convert_model(network, example_input=tuple(example.values()))
    if len(model.inputs) != len(example):
        raise RefusedError(f"it reads {len(model.inputs)} of the inputs {', '.join(example)}")
    for port, (name, tensor) in zip(model.inputs, example.items(), strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
        port.get_node().set_partial_shape(openvino.PartialShape(_open(tensor.shape)))
    model.validate_nodes_and_infer_types()
    return model


def check_same(
    converted: Any,
    network: "torch.nn.Module",
    inputs: "Mapping[str, torch.Tensor]",
    model: "LoadedModel",
) -> None:
    """Compare a converted network with the one that it was converted from, on some inputs.

    Conversion follows one example: what depended on its values or sizes may have become fixed.
    Of a network that keeps its states inside, the outputs that are left are compared.

    Raises:
        RefusedError: the answers differ.
    """
    import numpy as np
    import openvino
    import torch

    config = compile_config("float32", torch.get_num_threads())
    request = openvino.Core().compile_model(converted, "CPU", config).create_infer_request()
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    arrays["beam_idx"] = np.arange(len(next(iter(arrays.values()))), dtype=np.int32)
    ours = request.infer({port.any_name: arrays[port.any_name] for port in converted.inputs})
    with torch.inference_mode():
        theirs = network(*inputs.values())
    outputs = theirs if isinstance(theirs, tuple) else (theirs,)
    for one, other in zip(ours.values(), outputs, strict=False):
        if one.shape != other.shape or not np.allclose(one, other, rtol=SAME, atol=SAME):
            raise RefusedError(
                f"OpenVINO converts {model.reference} ({type(model.model).__name__}) into a model "
                "that answers otherwise; use engine=transformers"
            )


def compressed(network: Any, precision: str | None) -> Any:
    """Return the network with weights in 8 or 4 bits if the precision says so.

    Their activations are quantized at run time, in groups; see openvino_runtime.py.
    """
    if precision not in ("int8", "int4"):
        return network
    import nncf

    mode = nncf.CompressWeightsMode
    if precision == "int8":
        return nncf.compress_weights(network, mode=mode.INT8_SYM)
    return nncf.compress_weights(network, mode=mode.INT4_SYM, group_size=128, ratio=1.0)


def save(network: Any, path: Path) -> None:
    """Write network's .xml and .bin; weights stay in the type that they have."""
    import openvino

    openvino.save_model(network, str(path), compress_to_fp16=False)


def _open(shape: "torch.Size") -> list[int]:
    """Return the shape with -1 where two batches may differ."""
    return [-1, -1] if len(shape) == 2 else [-1, shape[1], -1, shape[3]]


def _calibrated(
    network: Any,
    model: "LoadedModel",
    options: EngineOptions,
    names: Sequence[str],
    alone: Sequence[str],
) -> tuple[Any, tuple[str, ...]]:
    """Return the network in int8 with ranges from texts, and notes on which texts they were.

    names: of its inputs. alone: products for one position of each text, whose weights alone are in
    int8: a position a text is too few for ranges, and reading the weights is all that they cost.
    """
    import nncf

    texts, notes = _calibration_texts(options)
    limits = token_limits(model, EngineOptions(max_length=_calibration_length(model, options)))
    batches = []
    for text in _in_kind(model, texts):
        arrays = encode_arrays(model, [text], limits)
        batches.append({name: arrays[name] for name in names})
    quantized = nncf.quantize(
        network,
        nncf.Dataset(batches),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(batches),
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(names=list(alone)),
    )
    return compressed(quantized, "int8") if alone else quantized, notes


def _calibration_texts(options: EngineOptions) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the texts to calibrate on, spread over those given, and a note if none were."""
    given = tuple(text for text in options.calibration_texts if text)
    note = f"no calibration texts were given: ranges come from {CALIBRATION_TEXTS} built-in ones"
    texts, notes = (given, ()) if given else (corpus_documents(), (note,))
    step = max(1, len(texts) // CALIBRATION_TEXTS)
    return texts[::step][:CALIBRATION_TEXTS], notes


def _calibration_length(model: "LoadedModel", options: EngineOptions) -> int:
    limits = (CALIBRATION_TOKENS, options.max_length, model.max_length)
    return min(limit for limit in limits if limit is not None)


def _in_kind(model: "LoadedModel", texts: Sequence[str]) -> tuple[str, ...]:
    """Return the texts with a mask in each if the model fills masks."""
    if model.kind != "masked":
        return tuple(texts)
    from ivme.models.synthetic import put_mask_in

    return put_mask_in(texts, model.tokenizer.mask_token)
