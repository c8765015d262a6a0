"""What every engine that calls PyTorch does around a call: threads, and running out of memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ivme.errors import OutOfMemoryError

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel


def use_threads(threads: int) -> None:
    """Make torch run the next call on so many threads; sessions that differ may take turns."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@contextmanager
def memory_errors_named(model: "LoadedModel", batch_size: int) -> Iterator[None]:
    """Turn torch's ways to say that memory ran out into OutOfMemoryError."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(model, batch_size) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):  # the allocator of the CPU has no class for it
            raise _out_of_memory(model, batch_size) from error
        raise


def _out_of_memory(model: "LoadedModel", batch_size: int) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"{model.reference} ran out of memory on {model.device} with batches of {batch_size}; "
        "use a smaller batch, shorter texts or dtype=bfloat16"
    )
