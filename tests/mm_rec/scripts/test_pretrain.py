import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from mm_rec.core.quantization import load_int8
from mm_rec.scripts import pretrain
from mm_rec.training.configuration import TrainingConfig, resolve
from mm_rec.training.distributed import Place
from mm_rec.training.logs import read_log
from mm_rec.training.stopping import StopRequest

ALL_FLAGS = [
    "--learning_rate=1e-3",
    "--weight_decay=0.1",
    "--grad_clip=1",
    "--gradient_accumulation_steps=2",
    "--use_adaptive_lr",
    "--adaptive_lr_patience=1",
    "--adaptive_lr_factor=0.5",
    "--use_amp",
    "--use_gradient_checkpointing",
    "--use_qat",
    "--use_hem",
    "--use_uboo",
    "--chunk_size=8",
    "--device=cpu",
    "--seed=3",
    "--num_workers=1",
    "--max_minutes=5",
    "--sample_interval=2",
    "--sample_tokens=5",
    "--use_tensorboard",
]
SHORT = [
    "--model_name=mm-rec-1m-char",
    "--batch_size=2",
    "--seq_len=16",
    "--max_steps=4",
    "--warmup_steps=1",
    "--checkpoint_interval=2",
    "--eval_interval=2",
    "--eval_batches=1",
    "--sample_interval=0",
    "--log_interval=1",
    "--no-use_tensorboard",
    "--validation=tail",
]
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def losses(folder):
    return {line["step"]: line["loss"] for line in read_log(folder, "step")}


def weights(folder, step=4):
    found = load_file(folder / f"step-{step:08d}" / "model.safetensors")
    return {name: tensor.clone() for name, tensor in found.items()}  # the file may change


def assert_same(left, right):
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_all_flags_work_together_in_one_run(train, capsys):
    folder = train(*ALL_FLAGS)
    told = capsys.readouterr()
    assert sorted(losses(folder)) == [1, 2, 3, 4]
    assert len(read_log(folder, "sample")) == 2
    assert [line["step"] for line in read_log(folder, "evaluation")] == [2]
    assert list((folder / "tensorboard").glob("events*"))
    for words in ("validation loss", "perplexity, int8", "bits per byte", "scripts.generate"):
        assert words in told.out
    assert not load_int8(folder / "int8").training


def test_without_data_it_trains_on_the_built_in_corpus(call, tmp_path):
    flags = ["--model_name=mm-rec-1m-char", "--tokenizer=bytes", "--batch_size=1", "--seq_len=8"]
    assert call(
        pretrain.main, *flags, "--max_steps=1", "--sample_interval=0", "--validation_share=0.001",
        f"--checkpoint_dir={tmp_path}", "--no-use_tensorboard",
    ) == 0  # fmt: skip
    (ended,) = read_log(tmp_path, "ended")
    assert ended["evaluation"]["bytes_per_token"] == pytest.approx(1, abs=0.05)


def test_a_run_goes_on_with_its_own_settings(train, call, tmp_path, capsys):
    whole = train()
    resumed = tmp_path / "resumed"
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "step-00000004")
    capsys.readouterr()
    assert call(pretrain.main, f"--resume_from={resumed}") == 0
    assert "after step 2" in capsys.readouterr().err
    assert_same(weights(resumed), weights(whole))
    assert losses(resumed) == losses(whole)


def test_a_run_that_was_moved_takes_its_prepared_data_along(train, call, tmp_path):
    whole = train()
    expected = weights(whole)
    moved = whole.rename(tmp_path / "moved")
    shutil.rmtree(moved / "step-00000004")
    before = (moved / "prepared" / "tokens" / "tokens.json").stat().st_ino
    assert call(pretrain.main, f"--resume_from={moved}") == 0
    assert_same(weights(moved), expected)
    assert (moved / "prepared" / "tokens" / "tokens.json").stat().st_ino == before
    assert not whole.exists()


def test_data_prepared_elsewhere_stay_there_when_a_run_is_moved(train, call, tmp_path):
    shared = tmp_path / "shared"
    moved = train(f"--prepared_dir={shared}").rename(tmp_path / "moved")
    assert call(pretrain.main, f"--resume_from={moved}", "--max_steps=5") == 0
    assert not (moved / "prepared").exists()


def test_a_copy_of_a_checkpoint_is_gone_on_from(train, call, tmp_path):
    folder = train()
    best = shutil.copytree(folder / "step-00000002", folder / "best")
    branch = tmp_path / "branch"
    assert call(pretrain.main, f"--resume_from={best}", f"--checkpoint_dir={branch}") == 0
    assert_same(weights(branch), weights(folder))
    shutil.rmtree(folder / "step-00000004")
    assert call(pretrain.main, f"--resume_from={best}") == 0
    assert_same(weights(branch), weights(folder))


def test_a_branch_of_a_finished_run_trained_for_int8_is_exported_too(train, call, tmp_path, capsys):
    folder = train("--use_qat")
    branch = tmp_path / "branch"
    capsys.readouterr()
    assert call(pretrain.main, f"--resume_from={folder}", f"--checkpoint_dir={branch}") == 0
    assert f"--model {branch}" in capsys.readouterr().out
    assert_same(weights(branch), weights(folder))
    assert not load_int8(branch / "int8").training


def test_a_rate_that_cannot_be_adapted_is_noted(train, capsys):
    train("--use_adaptive_lr", "--eval_interval=1", "--adaptive_lr_patience=2")
    assert "3 evaluations on the way, and it takes 4 to lower the rate" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 1), (signal.SIGTERM, 0)])
def test_a_stop_while_data_are_prepared_ends_as_one_in_training(
    text_file, tmp_path, number, status
):
    config = resolve(TrainingConfig(data_dir=str(text_file), checkpoint_dir=str(tmp_path)))
    told = []
    with StopRequest() as stop:
        signal.raise_signal(number)
        with pytest.raises(SystemExit) as left:
            pretrain._prepare(config, None, Place(device=torch.device("cpu")), stop, told.append)
    assert left.value.code == status
    assert told == [
        "stopped while the data were prepared; the next start goes on from what is kept"
    ]
    assert not list((tmp_path / "prepared").glob("token*/*.json"))


def test_a_damaged_checkpoint_costs_its_steps_and_no_more(train, call, capsys):
    folder = train()
    expected = weights(folder)
    (folder / "step-00000004" / "model.safetensors").write_bytes(b"")
    capsys.readouterr()
    assert call(pretrain.main, f"--resume_from={folder}") == 0
    told = capsys.readouterr().err
    assert "step-00000004 is damaged: model.safetensors does not match its checksum" in told
    assert "resumed from" in told
    assert_same(weights(folder), expected)


def test_a_finished_run_can_be_made_longer(train, call):
    folder = train()
    assert call(pretrain.main, f"--resume_from={folder}", "--max_steps=6") == 0
    assert sorted(losses(folder)) == [1, 2, 3, 4, 5, 6]


def test_the_machines_own_rate_is_that_of_the_gpu_that_trains(monkeypatch):
    def best_product(precision, device):
        assert precision == "bf16"
        return SimpleNamespace(operations_per_s={"cuda:0": 7e14, "cuda:1": 3e14}[device])

    ceilings = SimpleNamespace(best_product=best_product)
    monkeypatch.setattr("ivme.hardware.ceilings_cache.load_ceilings", lambda inventory: ceilings)
    config = TrainingConfig(use_amp=True)
    for index, rate in enumerate((7e14, 3e14)):
        assert pretrain._product_rate(config, Place(device=torch.device("cuda", index))) == rate


WRONG_USE = {
    "--max_steps 0: expected a whole number of at least 1": ["--max_steps=0"],
    "--use_adaptive_lr: expected --eval_interval of at least 1": [
        "--use_adaptive_lr",
        "--eval_interval=0",
    ],
    "argument --max_steps: invalid int value: 'many'": ["--max_steps=many"],
    "unrecognized arguments: --use_magic": ["--use_magic"],
    "/nowhere does not exist; expected a file or folder of texts": ["--data_dir=/nowhere"],
    "needs 100001: use more text, or a shorter window": ["--seq_len=100000"],
    "--resume_from /nowhere: there is no such folder": ["--resume_from=/nowhere"],
    "--parallel ddp: expected to be started by torchrun": ["--parallel=ddp"],
    "--optimizer muon: expected whole matrices, and --parallel fsdp spreads them": [
        "--optimizer=muon",
        "--parallel=fsdp",
    ],
    "--device tpu: expected auto, cpu, cuda": ["--device=tpu"],
    "tokenizer folder /nowhere does not exist": ["--tokenizer=/nowhere"],
    "nothing can be written in /dev/null/run": ["--checkpoint_dir=/dev/null/run"],
}


@pytest.mark.parametrize("message", WRONG_USE)
def test_wrong_use_is_one_line_and_status_2(train, capsys, message):
    train(*WRONG_USE[message], status=2)
    told = capsys.readouterr().err.splitlines()
    lines = [line for line in told if line.startswith(("script:", "pretrain:"))]
    assert len(lines) == 1
    assert message in lines[0]


def test_minutes_with_a_schedule_by_steps_need_a_number_of_steps(call, capsys):
    assert call(pretrain.main, "--schedule_by=steps", "--max_minutes=10") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--schedule_by steps: expected --max_steps beside --max_minutes" in line


def test_an_empty_file_is_refused(train, tmp_path, capsys):
    (tmp_path / "empty.txt").touch()
    train(f"--data_dir={tmp_path / 'empty.txt'}", status=2)
    assert "there is no text" in capsys.readouterr().err


def test_a_run_is_not_begun_twice_in_one_folder(train, capsys):
    train()
    train(status=2)
    assert "holds a run, up to step-00000004; go on with --resume_from" in capsys.readouterr().err


def test_what_a_resumed_run_cannot_change_is_refused(train, call, capsys):
    folder = train()
    assert call(pretrain.main, f"--resume_from={folder}", "--batch_size=3") == 2
    assert "--batch_size 3: the run in" in capsys.readouterr().err
    assert call(pretrain.main, f"--resume_from={folder / 'step-00000002'}") == 2
    assert "holds step-00000004, later than step-00000002" in capsys.readouterr().err


def test_a_run_branches_off_into_another_folder(train, call, tmp_path):
    folder = train()
    branch = tmp_path / "branch"
    flags = (f"--resume_from={folder / 'step-00000002'}", f"--checkpoint_dir={branch}")
    assert call(pretrain.main, *flags) == 0
    assert_same(weights(branch), weights(folder))


def test_a_loss_that_stays_nan_ends_with_status_1(train, capsys):
    train("--learning_rate=1e30", "--max_steps=100", status=1)
    told = capsys.readouterr().err
    assert "steps in a row; lower --learning_rate" in told
    assert "The last checkpoint is" in told


def test_help_names_every_documented_flag(call, capsys):
    assert call(pretrain.main, "--help") == 0
    told = capsys.readouterr().out
    for flag in [
        "data_dir",
        "model_name",
        "max_steps",
        "batch_size",
        "seq_len",
        "learning_rate",
        "warmup_steps",
        "weight_decay",
        "grad_clip",
        "gradient_accumulation_steps",
        "use_compile",
        "use_adaptive_lr",
        "adaptive_lr_patience",
        "adaptive_lr_factor",
        "use_amp",
        "use_gradient_checkpointing",
        "use_qat",
        "use_hem",
        "use_uboo",
        "chunk_size",
        "device",
        "checkpoint_dir",
        "checkpoint_interval",
        "resume_from",
        "seed",
        "num_workers",
        "max_minutes",
    ]:
        assert f"--{flag}" in told
    assert "--no-use_hem" in told


def test_sigterm_saves_and_ends_with_status_0(text_file, tmp_path):
    folder = tmp_path / "run"
    command = [
        sys.executable, "-m", "mm_rec.scripts.pretrain", "--model_name=mm-rec-1m-char",
        f"--data_dir={text_file}", f"--checkpoint_dir={folder}", "--batch_size=2", "--seq_len=16",
        "--max_steps=1000000", "--log_interval=1", "--sample_interval=0", "--eval_interval=0",
        "--no-use_tensorboard",
    ]  # fmt: skip
    with subprocess.Popen(
        command, env=QUIET, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if line.startswith("step "):
                break
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate()
    assert process.returncode == 0
    assert "pretrain --resume_from" in told
    (saved,) = read_log(folder, "checkpoint")
    assert saved["step"] == max(losses(folder))
    assert (folder / saved["folder"] / "config.json").is_file()


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_in_the_same_losses(text_file, tmp_path):
    program = Path(__file__).with_name("kill_runs.py")
    done = subprocess.run(
        [sys.executable, str(program), str(text_file), str(tmp_path), "20"],
        env={**QUIET, "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] == 20
    assert found["runs"]
    reference = losses(tmp_path / "reference")
    for name in found["runs"]:
        assert losses(tmp_path / name) == reference
        assert_same(weights(tmp_path / name, 40), weights(tmp_path / "reference", 40))


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_equal_one_with_the_same_global_batch(train, text_file, tmp_path, parallel):
    # AdamW: Muon makes much of what is small in a gradient, the order of its sums included.
    shared = ("--use_uboo", "--chunk_size=8", "--optimizer=adamw")
    alone = train("--batch_size=4", *shared)
    together = tmp_path / "together"
    flags = (*SHORT, f"--data_dir={text_file}", f"--checkpoint_dir={together}", "--batch_size=2")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    subprocess.run(
        [
            *command,
            "-m",
            "mm_rec.scripts.pretrain",
            *flags,
            *shared,
            f"--parallel={parallel}",
        ],
        env=QUIET,
        check=True,
        capture_output=True,
    )
    assert losses(together) == pytest.approx(losses(alone), rel=1e-5)
