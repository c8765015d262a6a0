from ivme.models.loading import load_model
from ivme.models.presets import MARKER, preset_folder
from ivme.tune.weights import has_random_weights


def test_presets_are_random_and_trained_models_are_not(tiny_model, trained_model):
    assert has_random_weights(tiny_model)
    assert not has_random_weights(trained_model)


def test_weights_that_were_initialized_and_never_trained_are_recognized(tmp_path):
    import shutil

    folder = tmp_path / "untrained"
    shutil.copytree(preset_folder("bert-tiny"), folder)
    (folder / MARKER).unlink()
    assert has_random_weights(load_model(str(folder)))
