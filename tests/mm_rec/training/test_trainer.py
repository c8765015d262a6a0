import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mm_rec.errors import CheckpointError, TrainingError
from mm_rec.training.checkpoint import load_newest
from mm_rec.training.trainer import Trainer

# Two orders of adding the same fp32 gradients, over a few steps of AdamW.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def weights_of(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def checkpoint_at(run_folder, step):
    return load_newest(Path(run_folder) / f"step-{step:08d}", pytest.fail)


ALL_ON = {
    "gradient_accumulation_steps": 2,
    "dropout": 0.1,
    "use_uboo": True,
    "use_adaptive_lr": True,
    "adaptive_lr_patience": 0,
    "eval_interval": 1,
    "eval_batches": 1,
    "chunk_size": 12,
}


@pytest.mark.parametrize("settings", [{}, ALL_ON, {**ALL_ON, "use_amp": True, "use_qat": True}])
def test_a_resumed_run_repeats_the_uninterrupted_one_bit_for_bit(
    make_trainer, make_config, tmp_path, settings
):
    config = make_config(checkpoint_interval=3, **settings)
    whole = make_trainer(config)
    whole.run()

    folder = tmp_path / "resumed"
    resumed = make_trainer(
        config.changed(checkpoint_dir=str(folder)),
        checkpoint=checkpoint_at(config.checkpoint_dir, 3),
    )
    resumed.run()

    assert resumed.recorder.losses == whole.recorder.losses[3:]
    for name in ("model.safetensors", "training.safetensors"):
        parts = [
            load_file(Path(run) / "step-00000006" / name) for run in (folder, config.checkpoint_dir)
        ]
        assert parts[0].keys() == parts[1].keys()
        assert all(torch.equal(parts[0][key], parts[1][key]) for key in parts[0])


def test_a_branch_with_nothing_left_to_do_saves_what_it_tells_of(
    make_trainer, make_config, tmp_path
):
    config = make_config()
    make_trainer(config).run()
    checkpoint = checkpoint_at(config.checkpoint_dir, 6)
    branch = config.changed(checkpoint_dir=str(tmp_path / "branch"))
    summary = make_trainer(branch, checkpoint=checkpoint).run()
    assert summary.checkpoint == tmp_path / "branch" / "step-00000006"
    assert checkpoint_at(branch.checkpoint_dir, 6).state["step"] == 6


def test_a_finished_run_that_is_resumed_keeps_its_checkpoint(make_trainer, make_config):
    config = make_config()
    folder = make_trainer(config).run().checkpoint
    before = folder.stat().st_ino
    checkpoint = checkpoint_at(config.checkpoint_dir, 6)
    assert make_trainer(config, checkpoint=checkpoint).run().checkpoint == folder
    assert folder.stat().st_ino == before


def test_the_loss_falls(make_trainer, make_config):
    trainer = make_trainer(make_config(max_steps=40, learning_rate=1e-2))
    summary = trainer.run()
    assert trainer.recorder.losses[-1] < 0.75 * trainer.recorder.losses[0]
    assert summary.is_complete
    assert summary.evaluation.perplexity < 15


def test_accumulated_gradients_equal_those_of_a_large_batch(make_trainer, make_config):
    # AdamW: Muon makes much of what is small in a gradient, the order of its sums included.
    large = make_trainer(make_config(batch_size=8, optimizer="adamw"))
    small = make_trainer(
        make_config(batch_size=2, gradient_accumulation_steps=4, optimizer="adamw")
    )
    for trainer in (large, small):
        trainer.run()
    torch.testing.assert_close(weights_of(small), weights_of(large), **TOLERANCE)
    assert small.tokens_seen == large.tokens_seen == 6 * 8 * 32


def test_a_chunk_as_long_as_the_text_changes_nothing(make_trainer, make_config):
    whole, chunked = (make_trainer(make_config(chunk_size=size)) for size in (None, 32))
    for trainer in (whole, chunked):
        trainer.run()
    torch.testing.assert_close(weights_of(chunked), weights_of(whole), **TOLERANCE)


def test_chunks_see_the_text_before_them(make_trainer, make_config):
    whole, chunked = (make_trainer(make_config(max_steps=1, chunk_size=size)) for size in (None, 8))
    for trainer in (whole, chunked):
        trainer.run()
    assert chunked.recorder.losses == pytest.approx(whole.recorder.losses, rel=1e-5)
    assert chunked.recorder.reports[0].gradient_norm != whole.recorder.reports[0].gradient_norm


def test_gradient_checkpointing_changes_nothing(make_trainer, make_config):
    plain, frugal = (
        make_trainer(make_config(use_gradient_checkpointing=on)) for on in (False, True)
    )
    for trainer in (plain, frugal):
        trainer.run()
    assert frugal.recorder.losses == plain.recorder.losses


def poison(trainer: Trainer, steps):
    """Make the loss NaN while the run is at one of the steps."""

    def spoil(module, arguments, output):
        if trainer.step in steps and output.loss is not None:
            output.loss = output.loss * float("nan")
        return output

    trainer.model.register_forward_hook(spoil)


@pytest.mark.parametrize("use_amp", [False, True])
def test_a_step_whose_loss_is_nan_is_skipped_and_told(make_trainer, make_config, use_amp):
    trainer = make_trainer(make_config(max_steps=3, use_amp=use_amp))
    poison(trainer, {1})
    summary = trainer.run()
    assert trainer.recorder.notes == ["step 2 is skipped: the loss is nan."]
    assert trainer.recorder.reports[1].skipped_because == "the loss is nan"
    assert summary.skipped_steps == 1
    assert all(torch.isfinite(value).all() for value in weights_of(trainer).values())


def test_a_loss_that_stays_nan_ends_the_run_and_names_the_checkpoint(make_trainer, make_config):
    trainer = make_trainer(make_config(max_steps=50, checkpoint_interval=2))
    poison(trainer, range(3, 100))
    with pytest.raises(
        TrainingError, match=r"lower --learning_rate.*last checkpoint is .*step-0+\d"
    ):
        trainer.run()
    assert trainer.step == 22
    kept = checkpoint_at(trainer.config.checkpoint_dir, 22)
    assert all(torch.isfinite(value).all() for value in kept.weights.values())


class Clock:
    """A clock that goes on by `tick_s` each time it is read."""

    def __init__(self, tick_s):
        self.time_s, self.tick_s = 0.0, tick_s

    def __call__(self):
        self.time_s += self.tick_s
        return self.time_s


def test_a_run_by_time_ends_in_time_with_the_last_learning_rate(make_trainer, make_config):
    config = make_config(max_steps=None, max_minutes=1.0, learning_rate=1e-3, min_lr_share=0.1)
    assert config.schedule_by == "time"
    trainer = make_trainer(config, now=Clock(0.25))
    summary = trainer.run()
    rates = [report.learning_rate for report in trainer.recorder.reports]
    assert summary.is_complete
    assert 60 <= summary.elapsed_s < 63
    assert max(rates) == pytest.approx(1e-3, rel=0.02)
    assert rates[-1] == pytest.approx(1e-4, rel=0.05)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_a_request_to_stop_saves_what_was_reached(make_trainer, make_config):
    trainer = make_trainer(make_config(max_steps=1000))
    stop = trainer._stop
    trainer.model.register_forward_hook(
        lambda *_: setattr(stop, "signal", signal.SIGTERM) if trainer.step == 4 else None
    )
    summary = trainer.run()
    assert (summary.step, summary.is_complete, summary.evaluation) == (5, False, None)
    assert checkpoint_at(trainer.config.checkpoint_dir, 5).state["step"] == 5


def test_samples_do_not_change_the_run(make_trainer, make_config):
    silent = make_trainer(make_config(dropout=0.2))
    talking = make_trainer(
        make_config(dropout=0.2, sample_interval=2),
        write_text=lambda model, step: str(torch.rand(1)),
    )
    for trainer in (silent, talking):
        trainer.run()
    assert [step for step, _ in talking.recorder.samples] == [2, 4, 6]
    assert talking.recorder.losses == silent.recorder.losses


def test_only_the_newest_checkpoints_are_kept(make_trainer, make_config):
    trainer = make_trainer(make_config(checkpoint_interval=1, keep_checkpoints=2))
    trainer.run()
    names = sorted(path.name for path in Path(trainer.config.checkpoint_dir).iterdir())
    assert names == ["step-00000005", "step-00000006"]


def test_weights_of_another_model_are_refused(make_trainer, make_config):
    trainer = make_trainer(make_config())
    trainer.run()
    checkpoint = checkpoint_at(trainer.config.checkpoint_dir, 6)
    with pytest.raises(CheckpointError, match="do not fit the model: size mismatch"):
        make_trainer(make_config(), checkpoint=checkpoint, model_dim=16)
    with pytest.raises(CheckpointError, match="those of another model"):
        make_trainer(make_config(), checkpoint=checkpoint, num_layers=3)


def test_a_checkpoint_is_a_model_folder(make_trainer, make_config):
    from transformers import AutoModelForCausalLM

    import mm_rec

    trainer = make_trainer(make_config(max_steps=2))
    folder = trainer.run().checkpoint
    mm_rec.register()
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(dict(loaded.state_dict()), weights_of(trainer), rtol=0, atol=0)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["MMRecForCausalLM"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch.compile imports
def test_a_compiled_model_learns_the_same(make_trainer, make_config):
    plain, compiled = (
        make_trainer(make_config(max_steps=2, use_compile=on), num_layers=1) for on in (False, True)
    )
    for trainer in (plain, compiled):
        trainer.run()
    assert compiled.recorder.losses == pytest.approx(plain.recorder.losses, rel=1e-4)
