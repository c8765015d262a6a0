"""What every call of ONNX Runtime needs: sessions with pinned threads, and named errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.errors import OutOfMemoryError, UsageError
from ivme.hardware.threads import ThreadSettings, onnxruntime_session_options

if TYPE_CHECKING:
    from ivme.models.interface import TextModel

FATAL_ONLY = 4  # severity of its log lines: errors come as exceptions, warnings tell of rewriting
NO_MEMORY = ("bad_alloc", "bad allocation", "allocate memory", "BFCArena")


def open_session(path: Path, *, threads: int, without: tuple[str, ...] = ()) -> Any:
    """Return an InferenceSession on the CPU with so many threads.

    without: optimizers of ONNX Runtime to leave out.

    Raises:
        UsageError: the file is no model.
    """
    import onnxruntime

    options = onnxruntime_session_options(ThreadSettings(intra=threads))
    options.log_severity_level = FATAL_ONLY
    try:
        session = onnxruntime.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(without),
        )
    except Exception as error:  # of classes that its binding makes, without a base of their own
        if any(words in str(error) for words in NO_MEMORY):
            raise OutOfMemoryError(f"{path} does not fit into memory") from error
        reason = str(error).strip().split("\n")[0]
        raise UsageError(f"{path} cannot be read ({reason}); make the folder again") from error
    used = session.get_session_options().intra_op_num_threads
    assert used == threads, f"asked for {threads} threads, got {used}"
    return session


@contextmanager
def memory_errors_named(model: "TextModel", batch_size: int) -> Iterator[None]:
    """Turn ONNX Runtime's ways to say that memory ran out into OutOfMemoryError."""
    try:
        yield
    except Exception as error:  # of classes that its binding makes, without a base of their own
        if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
            raise OutOfMemoryError(
                f"{model.reference} ran out of memory on cpu with batches of {batch_size}; use a "
                "smaller batch or shorter texts"
            ) from error
        raise
