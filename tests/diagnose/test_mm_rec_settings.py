import argparse
import shlex
import shutil

import pytest

from ivme.diagnose.commands import PRETRAIN, command_for
from ivme.diagnose.mm_rec_settings import present_settings, training_config, training_flags
from ivme.diagnose.settings import NAMES, StepSettings
from ivme.diagnose.targets import MM_REC, Target, find_target
from ivme.errors import UsageError
from ivme.models.corpus import corpus_text
from mm_rec.scripts import pretrain
from mm_rec.scripts.arguments import add_flags
from mm_rec.training.configuration import TrainingConfig, resolve

OWN = {
    "model_name": "mm-rec-1m-char",
    "optimizer": "adamw",  # muon suits it
    "learning_rate": "0.001",
    "chunk_size": "16",
    "max_steps": "1",
}
STEP = ["--batch_size", "3", "--seq_len", "32", "--use_amp", "--gradient_accumulation_steps", "2"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Return the folder of a run of one step on texts of its own."""
    folder = tmp_path_factory.mktemp("run")
    texts = folder / "texts.txt"
    texts.write_text(corpus_text(20_000))
    flags = [word for name, value in OWN.items() for word in (f"--{name}", value)]
    flags += ["--data_dir", str(texts), "--checkpoint_dir", str(folder / "run"), *STEP]
    pretrain.main([*flags, "--no-use_tensorboard", "--sample_interval", "0", "--device", "cpu"])
    return folder / "run"


def parse(command):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser, TrainingConfig)
    assert command.startswith(PRETRAIN)
    return TrainingConfig(**vars(parser.parse_args(shlex.split(command)[3:])))


def test_the_folder_of_a_run_is_its_newest_checkpoint(run_folder):
    target = find_target(str(run_folder))
    assert (target.kind, target.reference) == (MM_REC, str(run_folder / "step-00000001"))


def test_a_run_is_diagnosed_as_it_trained(run_folder):
    present = present_settings(find_target(str(run_folder)))
    assert present == {
        "batch_size": 3, "sequence_length": 32, "workers": 0, "compile": False,
        "checkpointing": False, "accumulation": 2, "dtype": "bfloat16",
    }  # fmt: skip
    config = training_config(find_target(str(run_folder)), StepSettings(**present))
    assert (config.optimizer, config.chunk_size) == ("adamw", 16)
    assert config.data_dir == str(run_folder.parent / "texts.txt")


def test_the_command_trains_as_the_run_did_but_for_what_is_advised(run_folder):
    target = find_target(str(run_folder))
    now = StepSettings(**present_settings(target))
    advised = now.changed(batch_size=8)
    command = command_for(target, advised, {"flags": training_flags(target)}, NAMES)
    threads, command = command.split(" ", 1)
    assert threads == "OMP_NUM_THREADS=1"
    config = parse(command)
    assert config.batch_size == 8
    assert (config.seq_len, config.use_amp, config.gradient_accumulation_steps) == (32, True, 2)
    assert (config.model_name, config.optimizer) == ("mm-rec-1m-char", "adamw")
    assert (config.learning_rate, config.chunk_size, config.max_steps) == (0.001, 16, 1)
    assert config.data_dir == str(run_folder.parent / "texts.txt")
    assert config.checkpoint_dir is None  # the run itself is left alone


@pytest.mark.parametrize("name", ["mm-rec-2m", "mm-rec-1m-char"])
def test_a_preset_is_diagnosed_as_pretrain_trains_it(name):
    target = find_target(name)
    usual = resolve(TrainingConfig(model_name=name))
    present = present_settings(target)
    assert (present["batch_size"], present["sequence_length"]) == (usual.batch_size, usual.seq_len)
    assert training_flags(target) == {"model_name": name}


def test_texts_that_are_given_come_first():
    target = find_target("mm-rec-2m", texts="mine.txt")
    assert training_flags(target)["data_dir"] == "mine.txt"


def test_a_model_without_its_run_is_told_by_its_shape(run_folder, tmp_path):
    shutil.copy(run_folder / "step-00000001" / "config.json", tmp_path)
    target = find_target(str(tmp_path))
    assert training_flags(target) == {"model_name": "mm-rec-1m-char"}
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"model_dim": 128', '"model_dim": 96'))
    with pytest.raises(UsageError, match=r"has the shape of no preset and no training\.json"):
        training_flags(target)


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(UsageError, match=r"training\.json is damaged"):
        present_settings(Target(kind=MM_REC, reference=str(tmp_path)))
    (tmp_path / "run" / "step-00000007").mkdir(parents=True)
    with pytest.raises(UsageError, match="none of its checkpoints is whole"):
        find_target(str(tmp_path / "run"))
