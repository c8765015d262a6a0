import copy
import json

import pytest
import torch
from torch.nn.functional import cross_entropy

from mm_rec.configuration import PRESETS, preset_config
from mm_rec.core.quantization import (
    DESCRIPTION_FILE,
    LARGEST,
    WEIGHTS_FILE,
    FakeQuantize,
    convert,
    export_int8,
    is_int8_export,
    is_prepared,
    load_int8,
    prepare_qat,
    row_scales,
)
from mm_rec.decoding import Decoder
from mm_rec.errors import ConfigError
from mm_rec.model import MMRecForCausalLM

FORMS = [
    {},
    {"use_hem": False},
    {"recurrence": "exact"},
    {"num_memories": 0},
    {"use_uboo": True},
]


def logits_of(model, ids):
    with torch.no_grad():
        return model.eval()(ids).logits


def train(model, ids, steps, rate=1e-2):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
    return loss.item()


def test_a_fake_quantized_weight_is_a_multiple_of_its_rows_scale():
    weight = torch.randn(5, 40) * torch.tensor([1e-4, 1.0, 30.0, 0.0, 1.0]).unsqueeze(1)
    rounded, scale = FakeQuantize()(weight), row_scales(weight).unsqueeze(1)
    integers = rounded / scale
    assert torch.allclose(integers, integers.round(), atol=1e-4)
    assert integers.abs().max() <= LARGEST + 1e-4
    assert ((rounded - weight).abs() <= scale / 2 * 1.0001).all()
    assert torch.equal(FakeQuantize()(-weight), -rounded)


def test_the_gradient_passes_as_if_nothing_was_rounded():
    weight = torch.randn(3, 7, requires_grad=True)
    slope = torch.randn(3, 7)
    (FakeQuantize()(weight) * slope).sum().backward()
    assert torch.equal(weight.grad, slope)


@pytest.mark.parametrize("settings", FORMS)
def test_every_matrix_is_rounded_and_every_parameter_learns(make_model, make_ids, settings):
    model = make_model(**settings)
    ids, before = make_ids(2, 30), logits_of(model, make_ids(2, 30))
    parameters = {id(parameter) for parameter in model.parameters()}
    assert prepare_qat(model) is model
    assert {id(parameter) for parameter in model.parameters()} == parameters
    rounded = logits_of(model, ids)
    assert not torch.equal(rounded, before)
    assert (rounded - before).std() < 0.1 * before.std()
    model.train()(ids, labels=ids).loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("settings", FORMS)
def test_the_export_computes_what_training_saw(make_model, make_ids, settings, tmp_path):
    model = prepare_qat(make_model(**settings))
    ids = make_ids(2, 30)
    train(model, ids, steps=3)
    expected = logits_of(model, ids)
    assert torch.allclose(logits_of(convert(model), ids), expected, atol=1e-6)
    export_int8(model, tmp_path)
    loaded = load_int8(tmp_path)
    assert torch.equal(logits_of(loaded, ids), logits_of(convert(model), ids))
    assert not is_prepared(loaded)
    assert is_int8_export(tmp_path)
    assert loaded.lm_head.weight is loaded.model.embeddings.weight


def test_an_export_holds_integers_for_all_matrices_and_the_embedding_once(make_model, tmp_path):
    from safetensors.torch import load_file

    model = make_model()
    tensors = load_file(export_int8(model, tmp_path))
    matrices = {name for name, p in model.named_parameters() if p.ndim == 2 and "bank" not in name}
    assert {name for name, tensor in tensors.items() if tensor.dtype == torch.int8} == matrices
    assert "lm_head.weight" not in tensors


def test_a_model_that_was_not_prepared_is_exported_too(make_model, make_ids, tmp_path):
    model, ids = make_model(), make_ids(2, 30)
    export_int8(model, tmp_path)
    assert torch.equal(logits_of(load_int8(tmp_path), ids), logits_of(prepare_qat(model), ids))


@pytest.mark.parametrize("preset", ["mm-rec-1m-char", "mm-rec-2m", "mm-rec-10m"])
def test_the_export_is_at_most_27_percent_of_the_fp32_size(preset, tmp_path):
    model = MMRecForCausalLM(preset_config(preset))
    assert preset in PRESETS
    model.save_pretrained(tmp_path / "fp32")
    whole = (tmp_path / "fp32" / "model.safetensors").stat().st_size
    assert export_int8(model, tmp_path / "int8").stat().st_size <= 0.27 * whole


def test_a_trained_export_keeps_the_loss_and_writes_the_same_text(make_model, make_ids, tmp_path):
    torch.manual_seed(0)
    ids = make_ids(1, 20).repeat(2, 3)  # a text that repeats itself, to be learned by heart
    model = prepare_qat(make_model())
    first = cross_entropy(logits_of(model, ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    trained = train(model.train(), ids, steps=60)
    assert trained < 0.5 * first
    export_int8(model, tmp_path)
    loaded = load_int8(tmp_path)
    with torch.no_grad():
        assert loaded(ids, labels=ids).loss.item() == pytest.approx(
            model.eval()(ids, labels=ids).loss.item(), rel=1e-4
        )
    generated = loaded.generate(ids[:1, :25], max_new_tokens=10, do_sample=False)
    stepped = Decoder(loaded).stream(ids[:1, :25], max_new_tokens=10)
    assert generated[0, 25:].tolist() == [step.item() for step in stepped]


def test_a_prepared_model_can_be_copied_and_its_weights_loaded(make_model, make_ids):
    model, ids = prepare_qat(make_model()), make_ids(2, 20)
    expected = logits_of(model, ids)
    assert torch.equal(logits_of(copy.deepcopy(model), ids), expected)
    other = prepare_qat(make_model(seed=5))
    other.load_state_dict(model.state_dict())
    assert torch.equal(logits_of(other, ids), expected)
    assert other.lm_head.weight.data_ptr() != 0
    train(other.train(), ids, steps=1)
    assert torch.equal(other.lm_head.weight, other.model.embeddings.weight)  # still tied


def test_a_model_is_prepared_once(make_model):
    with pytest.raises(ConfigError, match="is prepared for quantization already; prepare it once"):
        prepare_qat(prepare_qat(make_model()))


@pytest.mark.parametrize("damage", ["bit", "cut", "removed"])
def test_damaged_weights_are_refused(make_model, tmp_path, damage):
    path = export_int8(make_model(), tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data if damage == "bit" else data[:-1])
    if damage == "removed":
        path.unlink()
    with pytest.raises(ConfigError, match=r"is damaged; export|cannot be read"):
        load_int8(tmp_path)


def test_folders_without_an_export_or_of_another_version_are_refused(make_model, tmp_path):
    with pytest.raises(ConfigError, match=f"holds no int8 model .{DESCRIPTION_FILE}"):
        load_int8(tmp_path)
    export_int8(make_model(), tmp_path)
    description = json.loads((tmp_path / DESCRIPTION_FILE).read_text())
    (tmp_path / DESCRIPTION_FILE).write_text(json.dumps({**description, "version": 2}))
    with pytest.raises(ConfigError, match=r"holds \('mm_rec\.int8', 2\); expected mm_rec\.int8"):
        load_int8(tmp_path)
    assert (tmp_path / WEIGHTS_FILE).is_file()
