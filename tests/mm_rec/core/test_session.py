import pytest
import torch
from safetensors.torch import save_file

from mm_rec.core.projections import set_hem
from mm_rec.core.session import load_session, save_session
from mm_rec.errors import ConfigError, ShapeError


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def saved(model, make_ids, tmp_path):
    path = tmp_path / "session.safetensors"
    save_session(path, model(make_ids(2, 30)).state, model)
    return path


def test_a_session_goes_on_as_if_never_interrupted(model, make_ids, saved):
    ids = make_ids(2, 40)
    ids[:, :30] = make_ids(2, 30)
    with torch.no_grad():
        resumed = model(ids[:, 30:], state=load_session(saved, model)).logits
        assert torch.allclose(resumed, model(ids).logits[:, 30:], atol=1e-5)


def test_a_session_is_the_models_with_hem_on_and_off(model, saved):
    set_hem(model, False)
    assert load_session(saved, model).batch_size == 2


def test_a_session_is_the_same_for_the_model_without_its_head(model, saved):
    assert load_session(saved, model.model).batch_size == 2


def test_every_cut_of_a_session_file_is_refused(model, saved, tmp_path):
    whole = saved.read_bytes()
    for length in (0, 1, 8, 20, 200, len(whole) // 2, len(whole) - 1):
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(whole[:length])
        with pytest.raises(ConfigError, match="is no safetensors file, or is cut short"):
            load_session(cut, model)


def test_a_session_with_a_changed_number_is_refused(model, saved):
    data = bytearray(saved.read_bytes())
    data[-1] ^= 1
    saved.write_bytes(data)
    with pytest.raises(ConfigError, match="is damaged; save the session again"):
        load_session(saved, model)


def test_foreign_files_are_refused(model, tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(ConfigError, match="does not exist"):
        load_session(missing, model)
    other = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(2)}, other)
    with pytest.raises(ConfigError, match="is no session of version 1"):
        load_session(other, model)
    pickled = tmp_path / "session.pt"
    torch.save({"hidden": torch.zeros(2)}, pickled)
    with pytest.raises(ConfigError, match="is no safetensors file"):
        load_session(pickled, model)


def test_a_session_of_another_model_is_refused(make_model, saved):
    others = ({"seed": 4}, {"recurrence": "exact"}, {"num_layers": 3}, {"input_scale": "variance"})
    for other in (make_model(**settings) for settings in others):
        with pytest.raises(ConfigError, match="belongs to another model"):
            load_session(saved, other)


def test_a_state_that_is_not_the_models_is_not_saved(make_model, make_ids, tmp_path):
    state = make_model(num_layers=3)(make_ids(1, 2)).state
    with pytest.raises(ShapeError, match="state has 3 layers"):
        save_session(tmp_path / "session", state, make_model())
    assert not list(tmp_path.iterdir())
