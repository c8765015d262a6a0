from dataclasses import replace

import pytest

from ivme.errors import DeviceError
from ivme.hardware.accelerators import Accelerator
from ivme.hardware.devices import available_devices, choose_device

MPS = Accelerator(
    kind="mps", index=0, name="Apple GPU", memory_bytes=None, capability=None, is_usable=True
)


def test_cuda_comes_before_mps_before_the_processor(make_inventory, h200):
    both = make_inventory(accelerators=(MPS, h200))
    assert choose_device(None, both).name == "cuda"
    assert choose_device(None, make_inventory(accelerators=(MPS,))).name == "mps"
    assert choose_device(None, make_inventory()).name == "cpu"


def test_an_automatic_choice_carries_its_reason(make_inventory, h200):
    found = make_inventory(accelerators=(h200,))
    assert choose_device(None, found).reason == "automatic: NVIDIA H200 is there"
    none = choose_device(None, make_inventory())
    assert none.reason == "automatic: no CUDA or MPS device on this machine"
    idle = replace(h200, is_usable=False, reason="torch 2.13.0+cpu is built without CUDA")
    choice = choose_device(None, make_inventory(accelerators=(idle,)))
    assert choice.name == "cpu"
    assert "NVIDIA H200 is not usable: torch 2.13.0+cpu is built without CUDA" in choice.reason


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1", "cpu"])
def test_a_named_device_that_is_there_is_taken(name, make_inventory, h200):
    machine = make_inventory(accelerators=(h200, replace(h200, index=1)))
    choice = choose_device(name, machine)
    assert (choice.name, choice.reason) == (name, "asked for")


@pytest.mark.parametrize("name", ["cuda", "cuda:2", "mps", "tpu", ""])
def test_a_named_device_that_is_not_there_is_an_error(name, make_inventory):
    with pytest.raises(DeviceError, match=rf"device='{name}'; this machine has \['cpu'\]\. Leave"):
        choose_device(name, make_inventory())


def test_the_error_tells_why_a_device_is_not_usable(make_inventory, h200):
    idle = replace(h200, is_usable=False, reason="torch is built without CUDA")
    machine = make_inventory(accelerators=(idle,))
    assert available_devices(machine) == ["cpu"]
    with pytest.raises(DeviceError, match="NVIDIA H200 is not usable: torch is built without CUDA"):
        choose_device("cuda", machine)
