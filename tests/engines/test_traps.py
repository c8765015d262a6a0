"""Every trap is planted here and must be named, with its cost and what to do."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ivme.engines import traps
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.engines.traps import (
    Trap,
    find_machine_traps,
    find_model_traps,
    find_place_traps,
    find_session_traps,
    padding_waste,
    precision_traps,
    session_remarks,
)
from ivme.hardware.accelerators import Accelerator
from ivme.hardware.inventory import Inventory, read_inventory
from ivme.models.loading import LoadedModel, load_model

MODERN = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16")


@pytest.fixture(scope="module")
def quiet_place() -> Inventory:
    """This machine with two modern cores, no variables set and everything installed."""
    inventory = read_inventory()
    processor = replace(
        inventory.processor,
        usable_cores=2,
        affinity_cores=2,
        quota_cores=None,
        instruction_sets=MODERN,
    )
    versions = {"torchao": "0.18.0", "accelerate": "1.15.0"}
    return replace(inventory, processor=processor, environment={}, versions=versions)


@dataclass
class Planted:
    """A session as find_session_traps sees it."""

    precision: str = "float32"
    notes: tuple[str, ...] = ()


def names(found: list[Trap]) -> list[str]:
    return [trap.name for trap in found]


def test_a_machine_without_traps_has_none_named(quiet_place: Inventory) -> None:
    assert find_machine_traps(quiet_place) == []
    assert find_place_traps(quiet_place, {"torch": 2, "openvino": 2}, 0.01) == []


def test_engines_with_unequal_threads_are_named(quiet_place: Inventory) -> None:
    (trap,) = find_place_traps(quiet_place, {"torch": 1, "onnxruntime": 2}, 0.0)

    assert trap.name == "unequal threads"
    assert trap.found == "threads differ: torch 1, onnxruntime 2"


def test_variables_that_give_libraries_unequal_threads_are_named(quiet_place: Inventory) -> None:
    planted = {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "1"}
    (trap,) = find_machine_traps(replace(quiet_place, environment=planted))

    assert trap.name == "unequal threads"
    assert "OMP_NUM_THREADS 4, MKL_NUM_THREADS 1" in trap.found


def test_more_threads_than_cores_are_named(quiet_place: Inventory) -> None:
    (trap,) = find_place_traps(quiet_place, {"torch": 16}, 0.0)

    assert str(trap).startswith("oversubscription: 16 threads, but 2 cores are usable")
    assert trap.action == "Use --threads 2"


def test_more_threads_than_the_containers_quota_are_named(quiet_place: Inventory) -> None:
    processor = replace(quiet_place.processor, affinity_cores=8, quota_cores=1.5, usable_cores=1)
    (trap,) = find_place_traps(replace(quiet_place, processor=processor), {"torch": 8}, 0.0)

    assert trap.found == "8 threads, but the container's quota is 1.5 cores"


def test_others_that_load_the_machine_are_named(quiet_place: Inventory) -> None:
    (trap,) = find_place_traps(quiet_place, {"torch": 2}, 0.6)

    assert str(trap).startswith("oversubscription: other processes take 60% of the cores")


@pytest.mark.parametrize(
    ("precision", "missing", "name"),
    [
        ("bfloat16", "avx512_bf16", "emulated bfloat16"),
        ("autocast", "avx512_bf16", "emulated bfloat16"),
        ("float16", "avx512_fp16", "emulated float16"),
        ("int8", "avx512_vnni", "int8 without VNNI"),
        ("int8-static", "avx512_vnni", "int8 without VNNI"),
    ],
)
def test_a_precision_that_the_processor_lacks_is_named(
    quiet_place: Inventory, precision: str, missing: str, name: str
) -> None:
    modern = quiet_place.processor
    sets = tuple(one for one in MODERN if one != missing)

    assert names(
        list(precision_traps(precision, "cpu", replace(modern, instruction_sets=sets)))
    ) == [name]
    assert precision_traps(precision, "cpu", modern) == ()
    assert precision_traps(precision, "cuda:0", replace(modern, instruction_sets=())) == ()


def test_an_old_processor_is_named_before_any_model(quiet_place: Inventory) -> None:
    old = replace(quiet_place.processor, instruction_sets=("avx2",))

    assert names(find_machine_traps(replace(quiet_place, processor=old))) == [
        "emulated bfloat16",
        "int8 without VNNI",
    ]


def test_batches_of_padding_are_named_with_what_they_cost() -> None:
    (trap,) = padding_waste(0.6, "given")

    assert str(trap).startswith("padding waste: 60% of the computed tokens are padding; about 2.5")
    assert "--order sorted" in trap.action
    assert "smaller batches" in padding_waste(0.6, "sorted")[0].action
    assert padding_waste(0.05, "given") == ()


def test_a_model_saved_in_another_precision_is_named(tmp_path: Path) -> None:
    saved = load_model("preset:bert-tiny", dtype="bfloat16")
    saved.model.save_pretrained(tmp_path)
    saved.tokenizer.save_pretrained(tmp_path)
    (trap,) = find_model_traps(load_model(str(tmp_path)))

    assert trap.name == 'dtype "auto"'
    assert trap.found == "config.json says bfloat16, and this run uses float32"


def test_attention_that_is_not_fused_is_named() -> None:
    (trap,) = find_model_traps(load_model("preset:bert-tiny", attention="eager"))

    assert trap.name == "attention implementation"
    assert "attention=sdpa" in trap.action


def test_a_gpu_without_accelerate_is_named(quiet_place: Inventory) -> None:
    gpu = Accelerator(
        kind="cuda", index=0, name="GPU", memory_bytes=1, capability="9.0", is_usable=True
    )
    planted = replace(quiet_place, accelerators=(gpu,), versions={})

    assert names(find_machine_traps(planted)) == ["accelerate missing"]
    assert find_machine_traps(replace(quiet_place, versions={})) == []


def test_a_missing_compiler_is_named(
    quiet_place: Inventory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)

    assert names(find_machine_traps(quiet_place)) == ["C++ compiler missing"]


def test_a_torchao_without_its_fast_path_is_named(
    quiet_place: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traps, "TORCHAO_PATTERNS", "torchao.no_such_module")

    assert names(find_machine_traps(quiet_place)) == ["torchao fast path"]


def test_fusions_that_an_engine_misses_are_named() -> None:
    note = "fusions that did not fire: attention (0 of 12)"
    (trap,) = find_session_traps("onnxruntime", Planted(notes=(note,)), None)

    assert trap.name == "fusions"
    assert trap.found == f"onnxruntime: {note}"


def test_a_precision_taken_in_silence_is_named() -> None:
    found = find_session_traps("openvino", Planted(precision="bfloat16"), "float32")

    assert found[0].name == "silent precision"
    assert found[0].found == "openvino computes in bfloat16 where float32 was asked for"
    assert find_session_traps("openvino", Planted(), "float32") == []
    assert find_session_traps("openvino", Planted(), None) == []


def test_a_session_tells_each_trap_once(
    models: dict[str, LoadedModel], monkeypatch: pytest.MonkeyPatch, quiet_place: Inventory
) -> None:
    old = replace(quiet_place.processor, instruction_sets=("avx2",))
    monkeypatch.setattr(traps, "_this_processor", lambda: old)
    options = EngineOptions(precision="autocast")
    session = get_engine("transformers").prepare(models["classifier"], options)
    (remark,) = session_remarks("transformers", session, "autocast")

    assert remark.startswith("emulated bfloat16: ")
    assert session.notes == (remark,)


def test_a_precision_chosen_below_the_saved_one_is_no_trap() -> None:
    assert traps.automatic_dtype("float32", "bfloat16") == ()
    assert traps.automatic_dtype(None, "float32") == ()
    assert traps.automatic_dtype("float16", "float32")[0].name == 'dtype "auto"'
