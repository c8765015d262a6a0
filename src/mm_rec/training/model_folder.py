"""Model folders as Transformers knows them, written from weights that processes may share."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GenerationConfig

from mm_rec.configuration import MMRecConfig
from mm_rec.errors import CheckpointError
from mm_rec.model import MMRecForCausalLM
from mm_rec.training.distributed import whole

WEIGHTS_FILE = "model.safetensors"
TIED = "lm_head.weight"  # the embedding's weights, stored once
PREPARED = "parametrizations."  # in the names of weights that are trained for int8
ORIGINAL = ".original"


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return all weights by name, whole and on the CPU; every process must call it.

    A model prepared for int8 gives those that are trained, under the names of a plain model.
    """
    weights = {
        name.replace(PREPARED, "").removesuffix(ORIGINAL): whole(tensor).detach().cpu()
        for name, tensor in model.state_dict().items()
    }
    del weights[TIED]
    return weights


def plain_copy(model: nn.Module) -> MMRecForCausalLM:
    """Return the model whole, on the CPU, as if nothing had been done to it.

    Every process must call it.
    """
    config: MMRecConfig = model.config  # type: ignore[assignment]
    copied = MMRecForCausalLM(config)
    load_weights(copied, whole_weights(model))
    return copied.eval()


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy weights into a model, which keeps its own tensors.

    Raises CheckpointError if they are not those of such a model.
    """
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the weights do not fit the model: {reason}") from error
    missing = [name for name in missing if name != TIED]
    if missing or unexpected:
        names = ", ".join([*missing, *unexpected][:3])
        raise CheckpointError(
            f"the weights are those of another model: they differ in {names}; resume with the "
            "settings that the run began with."
        )


def write_model_folder(folder: Path, config: MMRecConfig, weights: dict[str, Tensor]) -> None:
    """Write configuration and weights as `from_pretrained` reads them."""
    config.architectures = ["MMRecForCausalLM"]
    config.dtype = torch.float32
    config.save_pretrained(folder)
    GenerationConfig(eos_token_id=config.eos_token_id).save_pretrained(folder)
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()},
        folder / WEIGHTS_FILE,
        metadata={"format": "pt"},
    )
