"""One decoding step as one call of the compiled kernel, which reads the weights where they lie."""

from typing import Any

import torch
from torch import Tensor

from mm_rec.errors import ConfigError
from mm_rec.ops.decode.weights import DecodeState, DecodeWeights


def decode_step(weights: DecodeWeights, ids: Tensor, state: DecodeState) -> Tensor:
    """Return the logits [B, V] after one more token of each text; `state` is updated in place.

    ids: [B], int64, in [0, V). Weights and state are fp32 on the CPU; runs on torch's threads.
    Raises ConfigError for other dtypes, devices and shapes, and for ids out of range.
    """
    logits = torch.empty(ids.shape[0], weights.embedding.shape[0])
    try:
        kernel = weights.bound.get("cpu") or _bind(weights)
        kernel.step(ids, *state, logits, torch.get_num_threads())
    except TypeError as error:
        raise ConfigError(
            "ids, state or weights do not fit the decoding kernel; expected ids of int64, and "
            "contiguous float32 on the CPU for all else."
        ) from error
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return logits


def _bind(weights: DecodeWeights) -> Any:
    """Return the kernel's view of the weights, and keep it with them."""
    from mm_rec_scan_cpu import _native

    first = weights.layers[0]
    widths = {
        "model": weights.norm.shape[0],
        "heads": weights.num_heads,
        "priority": first["p.bias"].shape[0] if "p.bias" in first else 1,
        "inner": first["gamma_down.bias"].shape[0],
        "ffn": first["ffn_up.bias"].shape[0],
        "memories": len(weights.time_scales),
        "vocabulary": weights.embedding.shape[0],
    }
    weights.bound["cpu"] = _native.DecodeModel(
        widths,
        {"embedding": weights.embedding, "norm": weights.norm},
        list(weights.layers),
        list(weights.time_scales),
        weights.norm_eps,
        weights.is_exact,
        weights.input_scale == "variance",
    )
    return weights.bound["cpu"]
