import json

import pytest

from mm_rec.configuration import PRESETS, MMRecConfig, preset_config
from mm_rec.errors import ConfigError
from mm_rec.model import MMRecForCausalLM


def parameters_of(config):
    import torch

    with torch.device("meta"):
        model = MMRecForCausalLM(config)
    return sum(weight.numel() for weight in model.parameters())


def test_the_documents_model_has_exactly_its_parameters():
    config = MMRecConfig(vocab_size=5000, model_dim=128, num_layers=4)
    assert parameters_of(config) == 1_960_832
    assert parameters_of(preset_config("mm-rec-2m")) == 1_960_832
    assert parameters_of(preset_config("mm-rec-2m", use_hem=False)) == 1_960_832


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("mm-rec-1m-char", 700_000, 850_000),
        ("mm-rec-10m", 9_000_000, 11_000_000),
        ("mm-rec-100m", 90_000_000, 110_000_000),
    ],
)
def test_a_preset_is_of_the_size_that_it_is_named_after(name, low, high):
    assert low <= parameters_of(preset_config(name)) <= high


def test_a_preset_takes_single_settings():
    assert preset_config("mm-rec-2m", recurrence="exact").recurrence == "exact"


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ConfigError, match=r"preset='mm-rec-3m'; expected one of \['mm-rec-100m'"):
        preset_config("mm-rec-3m")
    assert "mm-rec-2m" in PRESETS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_heads": 3}, "num_heads=3 does not divide model_dim=128"),
        ({"pe_dim": 100}, "pe_dim=100 does not divide model_dim=128"),
        ({"model_dim": 0}, "model_dim=0; expected a whole number of at least 1"),
        ({"num_layers": 2.5}, r"num_layers=2\.5; expected a whole number"),
        ({"vocab_size": True}, "vocab_size=True; expected a whole number"),
        ({"num_memories": 5}, "num_memories=5; expected 0"),
        ({"memory_time_scales": [1.0, 2.0]}, "expected num_memories=1 numbers above 0"),
        ({"memory_time_scales": [-1.0]}, "expected num_memories=1 numbers above 0"),
        ({"recurrence": "serial"}, r"recurrence='serial'; expected one of \('parallel', 'exact'\)"),
        ({"input_scale": "unit"}, r"input_scale='unit'; expected one of \('convex', 'variance'\)"),
        (
            {"input_scale": "variance", "recurrence": "exact"},
            "input_scale='variance' with recurrence='exact'; expected 'convex'",
        ),
        ({"dropout": 1.0}, r"dropout=1\.0; expected a number in \[0, 1\)"),
        ({"lambda_P": float("nan")}, "lambda_P=nan; expected a number"),
        ({"norm_eps": 0}, "norm_eps=0; expected a number above 0"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings=False; expected True"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        MMRecConfig(**settings)


def test_a_configuration_saved_before_there_was_a_choice_is_convex(tmp_path):
    preset_config("mm-rec-2m").save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["input_scale"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    assert MMRecConfig.from_pretrained(tmp_path).input_scale == "convex"


def test_the_banks_are_the_slowest_of_the_hierarchy():
    assert MMRecConfig(num_memories=4).memory_time_scales == [16.0, 128.0, 1024.0, 8192.0]
    assert MMRecConfig(num_memories=2).memory_time_scales == [1024.0, 8192.0]
    assert MMRecConfig(num_memories=0).memory_time_scales == []
