"""Int8 weights: training that knows of them, and an export that is a quarter of the size.

Every matrix has one scale a row, for its linear layer one an output; the embedding, which is also
the head, one a token. Biases, norms and bank weights stay fp32. Training rounds the weights where
they are read, whichever product reads them, and passes gradients on as if it had not.

Activations stay in floating point, and a loaded export is fp32 again. Products of int8 by int8 with
a scale for each token took 0.7 to 1.45 times as long as bfloat16 ones (24 to 4096 rows, widths 112
to 256, one core of a Zen 5): autocast is as good, and the fused decoding step reads fp32.
"""

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    quantize_affine,
)

from mm_rec.configuration import MMRecConfig
from mm_rec.errors import ConfigError
from mm_rec.model import MMRecForCausalLM
from mm_rec.whole_file import whole_file

WEIGHTS_FILE = "model_int8.safetensors"
DESCRIPTION_FILE = "int8.json"
FORMAT = "mm_rec.int8"
FORMAT_VERSION = 1
LARGEST = 127  # -128 is left out, so that a weight and its negative round alike
SMALLEST_SCALE = 1e-8
SCALE_SUFFIX = ".scale"


class FakeQuantize(nn.Module):
    """A weight as it will be in int8: rounded forward, untouched backward."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight [N, K], each element a multiple of its row's scale."""
        scale = row_scales(weight)
        zero_points = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
        return torch.fake_quantize_per_channel_affine(
            weight, scale, zero_points, 0, -LARGEST, LARGEST
        )


def prepare_qat(model: MMRecForCausalLM) -> MMRecForCausalLM:
    """Return the same model, changed in place: from now on it computes with int8 weights.

    Its parameters stay the same objects in fp32, under names with "parametrizations" in them.
    Raises ConfigError if it is prepared already.
    """
    if is_prepared(model):
        raise ConfigError("this model is prepared for quantization already; prepare it once.")
    for _, module in _quantized_modules(model):
        parametrize.register_parametrization(module, "weight", FakeQuantize())
    return model


def is_prepared(model: nn.Module) -> bool:
    """Return whether prepare_qat was applied to the model."""
    return any(parametrize.is_parametrized(module) for module in model.modules())


def convert(model: MMRecForCausalLM) -> MMRecForCausalLM:
    """Return a plain model in evaluation mode that computes what the int8 one will.

    The given model is not changed, and need not be prepared. The planning loss is left out: it is
    for training alone.
    """
    matrices, others = _quantize(model)
    return _build(_export_config(model.config), matrices, others).to(model.device)


def export_int8(model: MMRecForCausalLM, folder: Path | str) -> Path:
    """Write the model with int8 weights into a folder, and return the file of the weights.

    The model need not be prepared: one that was not trained for it loses a little more.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    matrices, tensors = _quantize(model)
    for name, (integers, scale) in matrices.items():
        tensors |= {name: integers, f"{name}{SCALE_SUFFIX}": scale}
    tensors = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    weights_path = folder / WEIGHTS_FILE
    with whole_file(weights_path) as draft:
        save_file(tensors, draft)
    _export_config(model.config).save_pretrained(folder)
    description = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "sha256": _file_digest(weights_path),
    }
    text = json.dumps(description, indent=1) + "\n"
    with whole_file(folder / DESCRIPTION_FILE) as draft:
        draft.write_text(text, encoding="utf-8")
    return weights_path


def is_int8_export(folder: Path | str) -> bool:
    """Return whether export_int8 wrote into this folder."""
    return (Path(folder) / DESCRIPTION_FILE).is_file()


def load_int8(folder: Path | str) -> MMRecForCausalLM:
    """Return the model in a folder that export_int8 wrote, in fp32 and evaluation mode.

    Raises ConfigError for a folder without an export, or with a damaged one.
    """
    folder = Path(folder)
    try:
        description = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder} holds no int8 model ({DESCRIPTION_FILE}: {error}); expected a folder that "
            "export_int8 wrote."
        ) from error
    kind = (description.get("format"), description.get("version"))
    if kind != (FORMAT, FORMAT_VERSION):
        raise ConfigError(
            f"{folder} holds {kind}; expected {FORMAT} of version {FORMAT_VERSION}: export again."
        )
    try:
        if _file_digest(folder / WEIGHTS_FILE) != description.get("sha256"):
            raise ConfigError(f"{folder / WEIGHTS_FILE} is damaged; export the model again.")
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{folder / WEIGHTS_FILE} cannot be read: {error}") from error
    names = [name for name in tensors if f"{name}{SCALE_SUFFIX}" in tensors]
    matrices = {name: (tensors.pop(name), tensors.pop(f"{name}{SCALE_SUFFIX}")) for name in names}
    return _build(MMRecConfig.from_pretrained(folder), matrices, tensors)


@torch.no_grad()
def row_scales(weight: Tensor) -> Tensor:
    """Return the scale of each row of a weight [N, K], [N] of fp32."""
    scale, _ = choose_qparams_affine(
        weight.detach(),
        MappingType.SYMMETRIC,
        (1, weight.shape[1]),
        torch.int8,
        quant_min=-LARGEST,
        quant_max=LARGEST,
        eps=SMALLEST_SCALE,
        scale_dtype=torch.float32,
    )
    return cast(Tensor, scale)


Matrices = dict[str, tuple[Tensor, Tensor]]  # int8 [N, K] and scale [N], by the weight's name


@torch.no_grad()
def _quantize(model: MMRecForCausalLM) -> tuple[Matrices, dict[str, Tensor]]:
    """Return the matrices in int8, and every other parameter, by their names in a plain model."""
    matrices: Matrices = {}
    for name, module in _quantized_modules(model):
        if module is not model.lm_head:  # the embedding's
            weight = stored_weight(module).float()
            scale = row_scales(weight)
            block, zero_points = (1, weight.shape[1]), torch.zeros_like(scale, dtype=torch.int32)
            integers = quantize_affine(
                weight, block, scale, zero_points, torch.int8, -LARGEST, LARGEST
            )
            matrices[f"{name}.weight"] = (integers, scale)
    others = {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if ".parametrizations." not in name and name not in matrices and ".uboo." not in name
    }
    return matrices, others


def _build(config: MMRecConfig, matrices: Matrices, others: dict[str, Tensor]) -> MMRecForCausalLM:
    """Return a plain model with these weights, in evaluation mode."""
    weights = dict(others)
    for name, (integers, scale) in matrices.items():
        weights[name] = integers.float() * scale.unsqueeze(1)
    weights["lm_head.weight"] = weights["model.embeddings.weight"]
    model = MMRecForCausalLM(config)
    model.load_state_dict(weights)
    return cast(MMRecForCausalLM, model.eval())


def _quantized_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module whose weight is quantized, by name; those of the planning loss are not."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding) and ".uboo." not in name:
            yield name, module


def stored_weight(module: nn.Module) -> Tensor:
    """Return the weight that is trained, which rounding has not touched."""
    if parametrize.is_parametrized(module):
        module = cast(Any, module).parametrizations.weight
        return cast(Tensor, module.original)
    return cast(Tensor, module.weight)


def _export_config(config: MMRecConfig) -> MMRecConfig:
    config = copy.deepcopy(config)
    config.use_uboo = False
    return config


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
