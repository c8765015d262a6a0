"""Thread settings that bind torch, ONNX Runtime and OpenVINO alike.

Engines do not share thread settings; a comparison is void unless each gets the same.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivme.errors import UsageError

if TYPE_CHECKING:
    from ivme.hardware.inventory import Inventory

# Read once by each library when it loads; children of this process inherit them.
LIBRARY_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",  # of the tokenizers library
)
MOST_THREADS = 1024  # no machine gains by more, and libraries really start them


@dataclass(frozen=True, kw_only=True)
class ThreadSettings:
    """Threads within one operation, and operations at a time.

    Raises UsageError as check_threads does.
    """

    intra: int
    inter: int = 1

    def __post_init__(self) -> None:
        """Refuse what no library accepts."""
        check_threads(self.intra, self.inter)


@dataclass(frozen=True, kw_only=True)
class ThreadsInUse:
    """What torch really uses, read back from it."""

    intra: int
    inter: int
    flushes_denormals: bool


def check_threads(*counts: int) -> None:
    """Raise UsageError where a number of threads is below 1 or above MOST_THREADS."""
    for count in counts:
        if not 1 <= count <= MOST_THREADS:
            raise UsageError(f"threads={count}; expected 1 or more, at most {MOST_THREADS:,}")


def default_threads(inventory: "Inventory") -> int:
    """Return the cores that this process may use: one thread a physical core."""
    return inventory.processor.usable_cores


def apply_threads(settings: ThreadSettings) -> ThreadsInUse:
    """Bind torch and the libraries' variables to the settings; return what torch then uses.

    torch fixes `inter` at its first parallel region: where it is fixed already, the result tells.
    """
    import torch

    for name in LIBRARY_VARIABLES:
        os.environ[name] = str(settings.intra)
    torch.set_num_threads(settings.intra)
    if torch.get_num_interop_threads() != settings.inter:
        try:
            torch.set_num_interop_threads(settings.inter)
        except RuntimeError as error:
            if "cannot set number of interop threads" not in str(error):
                raise
    return read_torch_threads()


def read_torch_threads() -> ThreadsInUse:
    """Return the threads that torch uses now."""
    import torch

    return ThreadsInUse(
        intra=torch.get_num_threads(),
        inter=torch.get_num_interop_threads(),
        flushes_denormals=_flushes_denormals(),
    )


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Run a block with this many torch threads, then set back what was."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def onnxruntime_session_options(settings: ThreadSettings) -> Any:
    """Return SessionOptions with these threads and without spinning.

    Spinning workers hold their core between calls, which starves whatever else runs there.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra
    options.inter_op_num_threads = settings.inter
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def openvino_config(settings: ThreadSettings) -> dict[str, Any]:
    """Return the properties that give OpenVINO these threads in one stream."""
    return {"INFERENCE_NUM_THREADS": settings.intra, "NUM_STREAMS": 1}


def _flushes_denormals() -> bool:
    """Return whether the smallest normal number, halved, is zero in this thread."""
    import torch

    return bool(torch.tensor([torch.finfo(torch.float32).tiny]).div_(2).eq(0).item())
