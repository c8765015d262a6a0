"""What every engine that calls PyTorch does around a call: threads, and running out of memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ivme.engines.encoding import encode, token_limits
from ivme.engines.protocol import EngineOptions
from ivme.errors import OutOfMemoryError

if TYPE_CHECKING:
    from torch import Tensor

    from ivme.engines.protocol import Engine
    from ivme.models.loading import LoadedModel


def use_threads(threads: int) -> None:
    """Make torch run the next call on so many threads; sessions that differ may take turns."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@contextmanager
def memory_errors_named(model: "LoadedModel", doing: str) -> Iterator[None]:
    """Turn torch's ways to say that memory ran out into OutOfMemoryError.

    doing: ends the sentence, "with batches of 8".
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(model, doing) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):  # the allocator of the CPU has no class for it
            raise _out_of_memory(model, doing) from error
        raise


def forward_inputs(model: "LoadedModel", texts: Sequence[str]) -> "dict[str, Tensor]":
    """Return what one forward pass of the model takes to read the texts, on its device."""
    import torch

    inputs = dict(encode(model, texts, token_limits(model, EngineOptions(new_tokens=1))))
    if model.kind == "seq2seq":
        start = model.model.config.decoder_start_token_id
        inputs["decoder_input_ids"] = torch.full((len(texts), 1), start)
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}


def _out_of_memory(model: "LoadedModel", doing: str) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"{model.reference} ran out of memory on {model.device} {doing}; "
        "use a smaller batch, shorter texts or dtype=bfloat16"
    )


def refuse_precision(engine: "Engine", precision: str | None) -> str | None:
    """Return why the engine does not compute in the precision, or None if it does."""
    if precision is None or precision in engine.precisions:
        return None
    return (
        f"engine={engine.name} does not compute in {precision!r}; expected one of "
        f"{', '.join(engine.precisions)}"
    )
