import pytest

from mm_rec.errors import ConfigError
from mm_rec.presets import PRESETS
from mm_rec.training.configuration import SUITABLE, TrainingConfig, resolve

REFUSED = {
    "--model_name gpt: expected one of mm-rec-100m": {"model_name": "gpt"},
    "--batch_size 0: expected a whole number of at least 1": {"batch_size": 0},
    "--learning_rate -1: expected a number above 0": {"learning_rate": -1},
    "--learning_rate nan: expected a number above 0": {"learning_rate": float("nan")},
    "--dropout 1.0: expected a number in": {"dropout": 1.0},
    "--adaptive_lr_factor 1.5: expected a number in": {"adaptive_lr_factor": 1.5},
    "--schedule_by time: expected --max_minutes with it": {"schedule_by": "time"},
    "--schedule_by steps: expected --max_steps beside --max_minutes": {
        "schedule_by": "steps",
        "max_minutes": 10,
    },
    "--use_adaptive_lr: expected --eval_interval of at least 1, not 0": {
        "use_adaptive_lr": True,
        "eval_interval": 0,
    },
    "--parallel tp: expected one of ddp, fsdp": {"parallel": "tp"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_trained_with_is_refused_by_name(message):
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**REFUSED[message])


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_settings_that_suit_it(preset):
    config = resolve(TrainingConfig(model_name=preset))
    assert set(SUITABLE) == set(PRESETS)
    assert None not in (config.learning_rate, config.batch_size, config.seq_len, config.tokenizer)
    assert config.checkpoint_dir == f"runs/{preset}"


def test_minutes_alone_drive_the_schedule_and_steps_do_otherwise():
    timed = resolve(TrainingConfig(max_minutes=1.0))
    both = resolve(TrainingConfig(max_minutes=1.0, max_steps=20))
    assert (timed.max_steps, timed.schedule_by, timed.warmup_steps) == (None, "time", 50)
    assert (both.max_steps, both.schedule_by, both.warmup_steps) == (20, "steps", 2)


def test_what_is_given_is_kept():
    assert resolve(TrainingConfig(batch_size=3, prepared_dir="here")).batch_size == 3
