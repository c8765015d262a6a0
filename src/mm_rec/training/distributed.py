"""More than one process: who this one is, how the model is shared, what all agree on.

Every function also works, and costs nothing, where there is one process.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mm_rec.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where this process runs, and its part in the whole."""

    device: torch.device
    rank: int = 0
    world_size: int = 1
    parallel: str | None = None  # "ddp", "fsdp"; None: one process

    @property
    def is_first(self) -> bool:
        """Return whether this process writes the files and speaks to the user."""
        return self.rank == 0


def join(parallel: str | None, device: str) -> Place:
    """Return the place of this process, and join the others if torchrun started several.

    device: "auto", "cpu", "cuda", "cuda:1". Raises ConfigError if it is not there, or if the
    processes and `parallel` do not fit.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    started = "RANK" in os.environ
    if parallel is not None and not started:
        raise ConfigError(
            f"--parallel {parallel}: expected to be started by torchrun, as in "
            f"`torchrun --nproc_per_node 2 -m mm_rec.scripts.pretrain --parallel {parallel}`."
        )
    if parallel is None and world_size > 1:
        raise ConfigError(f"{world_size} processes without --parallel; expected ddp or fsdp.")
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")) if parallel else None)
    if parallel is None:
        return Place(device=chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Place(
        device=chosen, rank=dist.get_rank(), world_size=dist.get_world_size(), parallel=parallel
    )


def leave() -> None:
    """Leave the other processes, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def choose_device(requested: str, local_rank: int | None = None) -> torch.device:
    """Return the device to run on: "auto" is a GPU if there is one.

    local_rank: takes the GPU of that number, one for each process. Raises ConfigError if the
    device is not there.
    """
    if requested == "auto":
        requested = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(requested)
    except RuntimeError:
        raise ConfigError(f"--device {requested}: expected auto, cpu, cuda or cuda:N.") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda" or not torch.cuda.is_available():
        raise ConfigError(f"--device {requested}: it is not on this machine; expected cpu.")
    if local_rank is not None:
        device = torch.device("cuda", local_rank)
    if (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {device}: expected one of {torch.cuda.device_count()} GPUs.")
    torch.cuda.set_device(device)
    return device


def share_model(model: nn.Module, place: Place) -> nn.Module:
    """Return what to call in training: the model itself, or one that works with the others."""
    if place.parallel == "ddp":
        # All weights come from one seed or one file, so there is nothing to send around first.
        return nn.parallel.DistributedDataParallel(model, init_sync=False)
    if place.parallel == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(place.device.type, (place.world_size,))
        for block in model.model.layers:  # type: ignore[union-attr]
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model


def gradients_stay(shared: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Return a context in which gradients only add up here; for the last pass, they are sent."""
    if isinstance(shared, nn.parallel.DistributedDataParallel):
        return contextlib.nullcontext() if is_last else shared.no_sync()
    synchronize: Any = getattr(shared, "set_requires_gradient_sync", None)
    if synchronize is not None:
        synchronize(is_last)
    return contextlib.nullcontext()


@contextlib.contextmanager
def quiet_views() -> Iterator[None]:
    """Silence FSDP about outputs that are views: nothing here changes an output in place."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
        yield


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor that may be spread over the processes; all must call it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's part of a whole tensor, laid out like another."""
    if not hasattr(like, "full_tensor"):
        return tensor.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = like.device_mesh, like.placements  # type: ignore[attr-defined]
    return distribute_tensor(tensor.to(like.device), mesh, placements)


def summed(values: list[float], place: Place) -> list[float]:
    """Return the sums over all processes, as doubles."""
    if place.world_size == 1:
        return values
    # Gloo and NCCL both take tensors on their own device alone.
    tensor = torch.tensor(values, dtype=torch.float64, device=place.device)
    dist.all_reduce(tensor)
    return tensor.tolist()


def from_first(value: Any, place: Place) -> Any:
    """Return what the first process has."""
    if place.world_size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=place.device)
    return box[0]
