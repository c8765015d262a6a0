"""Which device to run on: the one that was asked for, or the fastest that is there."""

import re
from dataclasses import dataclass

from ivme.errors import DeviceError
from ivme.hardware.accelerators import Accelerator
from ivme.hardware.inventory import Inventory

PREFERENCE = ("cuda", "mps")  # before the processor


@dataclass(frozen=True, kw_only=True)
class DeviceChoice:
    """The device, and why it is this one."""

    name: str  # "cuda", "cuda:1", "mps", "cpu": as torch.device takes it
    reason: str


def choose_device(requested: str | None, inventory: Inventory) -> DeviceChoice:
    """Return the requested device, or cuda > mps > cpu if None.

    inventory: read with torch, which alone knows the devices that it can run on.
    Raises DeviceError if the requested device is not there; never another in its place.
    """
    if requested is None:
        return _automatic(inventory)
    available = available_devices(inventory)
    if re.sub(r":0$", "", requested) not in available and requested not in available:
        raise DeviceError(
            f"device={requested!r}; this machine has {available}. {_advice(requested, inventory)}"
        )
    return DeviceChoice(name=requested, reason="asked for")


def available_devices(inventory: Inventory) -> list[str]:
    """Return the names that choose_device accepts, fastest first."""
    usable = _usable(inventory)
    names = []
    for kind in PREFERENCE:
        devices = [device for device in usable if device.kind == kind]
        names += [kind] if devices else []
        names += [f"{kind}:{device.index}" for device in devices if device.index > 0]
    return [*names, "cpu"]


def _usable(inventory: Inventory) -> list[Accelerator]:
    unknown = [device.name for device in inventory.accelerators if device.is_usable is None]
    assert not unknown, f"read_inventory(with_torch=True) first: nobody knows if {unknown} runs"
    return [device for device in inventory.accelerators if device.is_usable]


def _automatic(inventory: Inventory) -> DeviceChoice:
    usable = _usable(inventory)
    for kind in PREFERENCE:
        for device in usable:
            if device.kind == kind:
                return DeviceChoice(name=kind, reason=f"automatic: {device.name} is there")
    unusable = [device for device in inventory.accelerators if not device.is_usable]
    if unusable:
        why = f"{unusable[0].name} is not usable: {unusable[0].reason}"
    else:
        why = "no CUDA or MPS device on this machine"
    return DeviceChoice(name="cpu", reason=f"automatic: {why}")


def _advice(requested: str, inventory: Inventory) -> str:
    """Return what to do about a device that is not there."""
    kind = requested.partition(":")[0]
    for device in inventory.accelerators:
        if device.kind == kind and device.reason:
            return f"{device.name} is not usable: {device.reason}."
    return "Leave the device out to take the fastest, or run `ivme doctor` to see them."
