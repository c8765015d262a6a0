import json
import warnings

import pytest
import torch

from mm_rec.core import cpu_amp
from mm_rec.core.cpu_amp import CPUAutocast, CPUScaler, has_bfloat16, processor_flags
from mm_rec.errors import ConfigError


@pytest.fixture(autouse=True)
def processor_with_bfloat16(monkeypatch):
    monkeypatch.setattr(cpu_amp, "processor_flags", lambda: frozenset({"avx512_bf16"}))


def product():
    return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_products_run_in_bfloat16_inside_and_in_fp32_outside():
    autocast = CPUAutocast()
    with autocast:
        assert product() == torch.bfloat16
    with autocast():
        assert product() == torch.bfloat16
        with autocast(), torch.autocast("cpu", enabled=False):
            assert product() == torch.float32
        assert product() == torch.bfloat16
    assert product() == torch.float32


def test_it_ends_when_an_error_leaves_it():
    with pytest.raises(KeyError), CPUAutocast():
        raise KeyError
    assert product() == torch.float32


def test_switched_off_it_changes_nothing(monkeypatch):
    monkeypatch.setattr(cpu_amp, "processor_flags", frozenset)
    with CPUAutocast(enabled=False):
        assert product() == torch.float32


def test_a_model_trains_in_it(make_model, make_ids):
    model = make_model()
    ids = make_ids(2, 20)
    with CPUAutocast()():
        loss = model(ids, labels=ids).loss
    loss.backward()
    assert loss.dtype == model.lm_head.weight.grad.dtype == torch.float32
    assert loss.item() == pytest.approx(model(ids, labels=ids).loss.item(), rel=0.02)


def test_a_processor_without_bfloat16_is_warned_of(monkeypatch):
    monkeypatch.setattr(cpu_amp, "processor_flags", lambda: frozenset({"avx512f"}))
    with pytest.warns(RuntimeWarning, match="bfloat16 is emulated, and slower than float32"):
        CPUAutocast()
    with warnings.catch_warnings(record=True) as shown:
        CPUAutocast(device="cuda")
    assert shown == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16", True),
        ("flags\t\t: fpu amx_tile amx_bf16", True),
        ("flags\t\t: fpu avx2 avx512f", False),
        ("Features\t: fp asimd bf16", True),
        ("Features\t: fp asimd", False),
    ],
)
def test_bfloat16_is_read_from_the_processors_flags(tmp_path, line, expected):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: bf16\n{line}\n")
    assert has_bfloat16(processor_flags(cpuinfo)) == expected


def test_the_flags_of_a_processor_are_read_once(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu amx_bf16\n")
    assert has_bfloat16(processor_flags(cpuinfo))
    cpuinfo.write_text("flags\t\t: fpu\n")
    assert has_bfloat16(processor_flags(cpuinfo))


def test_without_that_file_torch_is_asked(tmp_path):
    known = torch.cpu.get_capabilities()
    expected = bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("bf16"))
    assert has_bfloat16(processor_flags(tmp_path / "missing")) == expected


def test_dtypes_and_devices_that_are_not_allowed_are_named():
    with pytest.raises(ConfigError, match=r"dtype=torch\.float16 on cpu; expected torch\.bfloat16"):
        CPUAutocast(torch.float16)
    with pytest.raises(ConfigError, match="device='tpu'; expected one of cpu, cuda"):
        CPUAutocast(device="tpu")
    with pytest.raises(ConfigError, match="device='tpu'; expected one of cpu, cuda"):
        CPUScaler(device="tpu")


SETTINGS = {"init_scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.25, "growth_interval": 3}
# What is added to the gradient of each step: NaN and infinities are overflows.
NOISE = [0, 0, 0, 0, float("inf"), 0, float("nan"), 0, 0, 0, 0]


def train(scaler, scale_loss, weight, *, unscale):
    """Return the scale and the weight after every step."""
    optimizer = torch.optim.SGD([weight], lr=0.1)
    history = []
    for noise in NOISE:
        optimizer.zero_grad()
        scale_loss(weight.square().sum() + noise * weight.sum()).backward()
        if unscale:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_([weight], 1.0)
        taken = scaler.step(optimizer)
        scaler.update()
        history.append((weight.detach().clone(), taken))
    return history


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("enabled", [True, False])
def test_it_scales_and_skips_as_torchs_scaler_does(unscale, enabled):
    weights = [torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2)]
    ours = CPUScaler(**SETTINGS, enabled=enabled)
    theirs = torch.amp.GradScaler("cpu", **SETTINGS, enabled=enabled)
    history = train(ours, ours, weights[0], unscale=unscale)
    expected = train(theirs, theirs.scale, weights[1], unscale=unscale)
    for (weight, _), (reference, _) in zip(history, expected, strict=True):
        assert torch.equal(weight.nan_to_num(), reference.nan_to_num())
    assert ours.scale == theirs.get_scale()
    assert ours.state_dict() == theirs.state_dict()
    if enabled:
        assert [taken for _, taken in history] == [noise == 0 for noise in NOISE]


def test_an_overflow_is_known_until_the_update():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer, scaler = torch.optim.SGD([weight]), CPUScaler()
    scaler(weight.sum() * float("inf")).backward()
    scaler.unscale_(optimizer)
    assert scaler.found_inf(optimizer)
    assert not scaler.step(optimizer)
    scaler.update()
    assert scaler.scale == 2.0**15
    assert weight.tolist() == [1, 1]


def test_a_loaded_state_goes_on_counting():
    weight = torch.nn.Parameter(torch.ones(2))
    first = CPUScaler(**SETTINGS)
    train(first, first, weight, unscale=False)
    state = json.loads(json.dumps(first.state_dict()))
    second = CPUScaler(**SETTINGS)
    second.load_state_dict(state)
    assert (second.scale, second.state_dict()) == (first.scale, first.state_dict())


@pytest.mark.parametrize(
    "setting",
    [{"init_scale": 0}, {"growth_factor": 1}, {"backoff_factor": 1}, {"growth_interval": 0}],
)
def test_scales_that_cannot_be_are_refused(setting):
    with pytest.raises(ConfigError, match=f"{next(iter(setting))}={next(iter(setting.values()))}"):
        CPUScaler(**setting)
