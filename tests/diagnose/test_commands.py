import argparse
import dataclasses
import shlex

import pytest

from ivme.diagnose.commands import PRETRAIN, command_for
from ivme.diagnose.settings import NAMES, StepSettings
from ivme.diagnose.targets import FILE, MM_REC, MODEL, Target, find_target
from ivme.diagnose.training_step import outline_of
from mm_rec.scripts.arguments import add_flags
from mm_rec.training.configuration import TrainingConfig

ALL = StepSettings(
    batch_size=8, sequence_length=256, dtype="bfloat16", workers=2, prefetch=4, threads=1,
    compile=True, checkpointing=True, accumulation=4,
)  # fmt: skip


def test_every_flag_of_the_pretraining_command_exists():
    target = Target(kind=MM_REC, reference="mm-rec-2m", texts="texts.txt")
    flags = {"model_name": "mm-rec-2m", "data_dir": "texts.txt", "use_hem": False}
    command = command_for(target, ALL, {"flags": flags}, NAMES)
    threads, rest = command.split(" ", 1)
    assert threads == "OMP_NUM_THREADS=1"
    assert rest.startswith(PRETRAIN)
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser, TrainingConfig)
    config = TrainingConfig(**vars(parser.parse_args(shlex.split(rest)[3:])))
    assert (config.batch_size, config.seq_len, config.num_workers) == (8, 256, 2)
    assert config.use_amp
    assert config.use_compile
    assert config.use_gradient_checkpointing
    assert config.gradient_accumulation_steps == 4
    assert config.data_dir == "texts.txt"
    assert not config.use_hem


def test_every_flag_of_a_trainer_script_is_a_training_argument():
    from transformers import TrainingArguments

    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    command = command_for(Target(kind=MODEL, reference="bert"), ALL, {"model": "bert"}, NAMES)
    flags = [word[2:] for word in command.split() if word.startswith("--")]
    assert set(flags) - {"model_name_or_path"} <= known
    assert "bf16" in flags


def test_the_command_of_a_preset_names_a_folder_that_transformers_loads():
    from transformers import AutoConfig

    target = find_target("bert-tiny")
    command = command_for(target, ALL, outline_of(target).facts, NAMES)
    words = shlex.split(command)
    assert AutoConfig.from_pretrained(words[words.index("--model_name_or_path") + 1])


def test_batches_are_kept_ready_by_workers_alone():
    from transformers import TrainingArguments

    target, facts = Target(kind=MODEL, reference="bert"), {"model": "bert"}
    prefetching = StepSettings(prefetch=4)
    assert "prefetch" not in command_for(target, prefetching, facts, NAMES)
    with pytest.raises(ValueError, match="dataloader_prefetch_factor can only be set"):
        TrainingArguments(use_cpu=True, dataloader_prefetch_factor=4)
    with_workers = command_for(target, prefetching.changed(workers=1), facts, NAMES)
    assert "--dataloader_num_workers 1 --dataloader_prefetch_factor 4" in with_workers


def test_a_file_is_called_with_the_settings_that_it_takes():
    target = Target(kind=FILE, reference="step.py")
    command = command_for(target, ALL, {}, ("batch_size", "dtype", "threads"))
    assert command == "torch.set_num_threads(1); make_step(batch_size=8, dtype='bfloat16')"
