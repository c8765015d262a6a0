"""The devices beside the processor: CUDA and MPS.

Without torch the list comes from nvidia-smi and the platform; torch says in addition which of
them it can run on.
"""

import platform
import subprocess
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One CUDA or MPS device."""

    kind: str  # "cuda", "mps"
    index: int
    name: str
    memory_bytes: int | None  # None: shared with the processor
    capability: str | None  # CUDA compute capability, "9.0"
    is_usable: bool | None  # by the torch that is installed; None: torch was not asked
    reason: str = ""  # why it is not usable


def parse_nvidia_smi(text: str) -> tuple[Accelerator, ...]:
    """Return the devices in `nvidia-smi --query-gpu=index,name,memory.total,compute_cap`."""
    devices = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 4 or not fields[0].isdigit():
            continue
        index, name, mebibytes, capability = fields
        memory_bytes = int(mebibytes) << 20 if mebibytes.isdigit() else None
        devices.append(
            Accelerator(
                kind="cuda",
                index=int(index),
                name=name,
                memory_bytes=memory_bytes,
                capability=capability,
                is_usable=None,
            )
        )
    return tuple(devices)


def read_accelerators(*, with_torch: bool) -> tuple[Accelerator, ...]:
    """Return this machine's devices; `with_torch` asks torch (and imports it)."""
    seen = (*_nvidia_devices(), *_apple_devices())
    if not with_torch:
        return seen
    usable = (*_torch_cuda_devices(), *_torch_mps_devices())
    kinds = {device.kind for device in usable}
    return usable + tuple(
        replace(device, is_usable=False, reason=_torch_refusal(device.kind))
        for device in seen
        if device.kind not in kinds
    )


def _nvidia_devices() -> tuple[Accelerator, ...]:
    query = ["nvidia-smi", "--query-gpu=index,name,memory.total,compute_cap"]
    try:
        answer = subprocess.run(
            [*query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse_nvidia_smi(answer.stdout)


def _apple_devices() -> tuple[Accelerator, ...]:
    if (platform.system(), platform.machine()) != ("Darwin", "arm64"):
        return ()
    return (_apple_device(is_usable=None),)


def _apple_device(*, is_usable: bool | None) -> Accelerator:
    return Accelerator(
        kind="mps",
        index=0,
        name="Apple GPU",
        memory_bytes=None,
        capability=None,
        is_usable=is_usable,
    )


def _torch_cuda_devices() -> tuple[Accelerator, ...]:
    import torch

    if not torch.cuda.is_available():
        return ()
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices.append(
            Accelerator(
                kind="cuda",
                index=index,
                name=properties.name,
                memory_bytes=properties.total_memory,
                capability=f"{properties.major}.{properties.minor}",
                is_usable=True,
            )
        )
    return tuple(devices)


def _torch_mps_devices() -> tuple[Accelerator, ...]:
    import torch

    return (_apple_device(is_usable=True),) if torch.backends.mps.is_available() else ()


def _torch_refusal(kind: str) -> str:
    """Return why torch cannot use a device that the machine has."""
    import torch

    if kind == "cuda" and torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return f"torch {torch.__version__} finds no {kind} device (driver or visibility settings)"
