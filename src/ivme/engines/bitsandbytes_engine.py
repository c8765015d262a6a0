"""bitsandbytes on CUDA: the model read again from its files, with weights in 8 or 4 bits."""

import dataclasses
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ivme.engines import answers
from ivme.engines.network_copies import weight_bytes
from ivme.engines.protocol import EngineOptions
from ivme.engines.torch_calls import memory_errors_named, refuse_precision
from ivme.engines.transformers_engine import TransformersSession
from ivme.errors import RefusedError
from ivme.measure.clock import Clock, SystemClock

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel

NEEDED = ("bitsandbytes", "accelerate")  # Transformers places quantized weights by accelerate


class BitsAndBytesEngine:
    """The model with linear layers in LLM.int8() or in 4-bit NormalFloat, called by hand."""

    name = "bitsandbytes"
    summary = "bitsandbytes weights in 8 or 4 bits, on CUDA"
    precisions: tuple[str, ...] = ("int8", "int4")

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model, or None if it can."""
        if reason := answers.reason_for_no_answer(model):
            return reason
        if not model.device.startswith("cuda"):
            return f"engine=bitsandbytes runs on CUDA devices, and the model is on {model.device}"
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            return (
                f"engine=bitsandbytes needs {' and '.join(missing)}, of the extra gpu: "
                "pip install 'ivme[gpu]'"
            )
        return None

    def prepare(
        self, model: "LoadedModel", options: EngineOptions, clock: Clock | None = None
    ) -> TransformersSession:
        """Return a session on the model's files, quantized while they are read.

        Raises:
            RefusedError: it cannot run the model, or not in that precision.
            OutOfMemoryError: the weights do not fit on the device.
        """
        reason = self.refusal(model) or refuse_precision(self, options.precision)
        if reason:
            raise RefusedError(reason)
        precision = options.precision or self.precisions[0]
        quantized = _read_quantized(model, precision)
        return TransformersSession(quantized, options, clock or SystemClock(), precision=precision)


def _read_quantized(model: "LoadedModel", precision: str) -> "LoadedModel":
    """Return the model with weights read from its folder in 8 or 4 bits, on its own device."""
    import torch

    from ivme.models.model_files import one_load_at_a_time
    from ivme.models.quiet import quiet_libraries

    with (
        memory_errors_named(model, f"while it was read in {precision}"),
        quiet_libraries(),
        one_load_at_a_time,
    ):
        network = type(model.model).from_pretrained(
            model.folder,
            quantization_config=_quantization(precision),
            dtype=torch.bfloat16,
            device_map={"": model.device},
            attn_implementation=model.attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    network.eval().requires_grad_(False)
    network.config.pad_token_id = model.model.config.pad_token_id
    if network.can_generate():
        network.generation_config = model.model.generation_config
    return dataclasses.replace(
        model, model=network, dtype="bfloat16", weight_bytes=weight_bytes(network)
    )


def _quantization(precision: str) -> Any:
    """Return how Transformers is to quantize; products run in bfloat16."""
    import torch
    from transformers import BitsAndBytesConfig

    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    )
