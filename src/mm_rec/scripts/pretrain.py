"""Train MM-Rec from raw text: `python -m mm_rec.scripts.pretrain --data_dir FOLDER`.

Prepares tokenizer and tokens once, trains, saves checkpoints that can be resumed and that are
Transformers model folders, and ends with the validation loss.
"""

import contextlib
import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_rec.errors import ConfigError
from mm_rec.scripts.arguments import FAILED, OneLineParser, add_flags, end_with_status
from mm_rec.training.configuration import TrainingConfig, resolve

if TYPE_CHECKING:
    from mm_rec.data.token_file import TokenFiles
    from mm_rec.data.tokenizers import Tokenizer
    from mm_rec.training.checkpoint import Checkpoint
    from mm_rec.training.distributed import Place
    from mm_rec.training.reports import Listener, Summary
    from mm_rec.training.stopping import StopRequest
    from mm_rec.training.trainer import Trainer

# What a resumed run cannot change: weights, order of the data and steps would not fit.
FIXED = (
    "model_name", "tokenizer", "vocab_size", "batch_size", "seq_len",
    "gradient_accumulation_steps", "seed", "use_hem", "use_uboo", "use_qat",
)  # fmt: skip
INT8_FOLDER = "int8"
Say = Callable[[str], None]


def main(arguments: Sequence[str]) -> int:
    """Train as the arguments say; return the exit status."""
    parser = OneLineParser(prog="pretrain", description=__doc__)
    add_flags(parser, TrainingConfig)
    given = vars(parser.parse_args(arguments))
    config = TrainingConfig(**given)  # refuses what is wrong before anything heavy is loaded
    from mm_rec.training.stopping import StopRequest

    with StopRequest() as stop:
        from ivme.models.quiet import quiet_libraries

        with quiet_libraries():
            import mm_rec.training.trainer  # noqa: F401
        from mm_rec.training.distributed import join, leave

        place = join(config.parallel, config.device)
        try:
            return _run(given, place, stop)
        finally:
            leave()


def _run(given: dict[str, Any], place: "Place", stop: "StopRequest") -> int:
    say: Say = _say if place.is_first else (lambda text: None)
    with _shown_warnings(say):
        config, checkpoint = _settings(given, place, say)
        lock = _lock(config, checkpoint, place)
        try:
            summary = _train(config, checkpoint, place, stop, say)
        finally:
            if lock is not None:
                lock.release()
    return 0 if summary.is_complete else _status_of(stop)


def _status_of(stop: "StopRequest") -> int:
    """Return the status to end with before the end: schedulers expect 0, people are told 1."""
    import signal

    return FAILED if stop.signal is signal.SIGINT else 0


def _settings(
    given: dict[str, Any], place: "Place", say: Say
) -> "tuple[TrainingConfig, Checkpoint | None]":
    """Return the settings, and what to go on from: a resumed run keeps its own settings."""
    from mm_rec.training.checkpoint import load_newest

    if given.get("resume_from") is None:
        return resolve(TrainingConfig(**given)), None
    source = Path(given["resume_from"])
    if not source.is_dir():
        raise ConfigError(f"--resume_from {source}: there is no such folder; name a run's folder.")
    checkpoint = load_newest(source, say)
    names = {field.name for field in dataclasses.fields(TrainingConfig)}
    own = {name: value for name, value in checkpoint.state["settings"].items() if name in names}
    former, here = Path(own["checkpoint_dir"]), checkpoint.folder.parent
    prepared = Path(own["prepared_dir"])
    if prepared.is_relative_to(former):  # it came along, if the run was moved or copied
        own["prepared_dir"] = str(here / prepared.relative_to(former))
    own["checkpoint_dir"] = str(here)
    for name in FIXED:
        if name in given and given[name] != own[name]:
            raise ConfigError(
                f"--{name} {given[name]}: the run in {source} has {own[name]}; resume it with "
                "that, or start anew without --resume_from."
            )
    # The number of processes may differ from before, and where the data lie.
    left_open = {"parallel": None, "resume_from": None}
    return resolve(TrainingConfig(**{**own, **left_open, **given})), checkpoint


def _lock(config: TrainingConfig, checkpoint: "Checkpoint | None", place: "Place") -> Any:
    """Take the run's folder for this run alone, and clear away what killed runs left there."""
    if not place.is_first:
        return None
    from mm_rec.training.files import remove_drafts
    from mm_rec.training.run_lock import RunLock

    folder = Path(config.checkpoint_dir or "")
    lock = RunLock(folder)
    try:
        _check_run(folder, checkpoint)
    except ConfigError:
        lock.release()
        raise
    remove_drafts(folder)
    return lock


def _check_run(folder: Path, checkpoint: "Checkpoint | None") -> None:
    """Refuse a folder whose checkpoints would mix with this run's; remove damaged later ones."""
    from mm_rec.training.checkpoint import list_checkpoints, step_of
    from mm_rec.training.files import find_damage, remove_folder

    present = list_checkpoints(folder)
    if checkpoint is None or checkpoint.folder.parent.resolve() != folder.resolve():
        if present:
            raise ConfigError(
                f"{folder} holds a run, up to {present[0].name}; go on with --resume_from "
                f"{folder}, or name another folder with --checkpoint_dir."
            )
        return
    later = [one for one in present if step_of(one) > checkpoint.step]
    for one in later:
        if find_damage(one) is None:
            raise ConfigError(
                f"{folder} holds {one.name}, later than {checkpoint.folder.name}; resume from "
                f"{folder}, or branch off with another --checkpoint_dir."
            )
        remove_folder(one)


def _train(
    config: TrainingConfig,
    checkpoint: "Checkpoint | None",
    place: "Place",
    stop: "StopRequest",
    say: Say,
) -> "Summary":
    from mm_rec.core.allocation import keep_freed_memory, return_freed_memory
    from mm_rec.data.batches import BatchSource, PrefetchingSource, evaluation_batches
    from mm_rec.scripts.training_model import build_model, make_text_writer
    from mm_rec.training.trainer import Trainer

    if config.use_gradient_checkpointing:
        return_freed_memory()
    else:
        keep_freed_memory()
    _note_few_evaluations(config, say)
    tokenizer, files = _prepare(config, checkpoint, place, stop, say)
    model = build_model(config, tokenizer)
    parameters = sum(one.numel() for one in model.parameters())
    say(f"model: {config.model_name}, {parameters:,} parameters, on {place.device}")
    assert config.batch_size is not None
    assert config.seq_len is not None
    sizes = (config.batch_size, config.seq_len)
    source: Any = BatchSource(files.train, *sizes, config.seed, place.rank, place.world_size)
    if config.num_workers:
        source = PrefetchingSource(source, config.num_workers)
    with _listening(config, parameters, place) as listener:
        trainer = Trainer(
            config,
            model,
            batches=source,
            validation=lambda: (
                evaluation_batches(files.validation, *sizes),
                files.validation.bytes_per_token,
            ),
            write_tokenizer=tokenizer.save,
            write_text=make_text_writer(tokenizer, config) if config.sample_interval else None,
            place=place,
            listener=listener,
            stop=stop,
            checkpoint=checkpoint,
            facts={"training_tokens": len(files.train), "processes": place.world_size},
        )
        summary = trainer.run()
        exported = _export(config, trainer, summary, tokenizer)
    if place.is_first:
        from mm_rec.scripts.training_display import print_rows, print_summary

        print_rows(exported)
        print_summary(summary)
    return summary


def _note_few_evaluations(config: TrainingConfig, say: Say) -> None:
    """Say so where the run ends before its learning rate could be adapted."""
    if not config.use_adaptive_lr or config.max_steps is None:
        return
    count, least = (config.max_steps - 1) // config.eval_interval, config.adaptive_lr_patience + 2
    if count < least:  # the first is what the others are compared with
        say(
            f"--use_adaptive_lr changes nothing here: {count} evaluations on the way, and it takes "
            f"{least} to lower the rate; lower --eval_interval or --adaptive_lr_patience."
        )


def _export(
    config: TrainingConfig, trainer: "Trainer", summary: "Summary", tokenizer: "Tokenizer"
) -> list[tuple[str, str]]:
    """Write the int8 model of a run that trained for it; return what to tell about it."""
    if not config.use_qat or not summary.is_complete:
        return []
    from mm_rec.core.quantization import convert, export_int8
    from mm_rec.training.model_folder import WEIGHTS_FILE, plain_copy

    plain = plain_copy(trainer.model)
    before, after = trainer.evaluate(plain), trainer.evaluate(convert(plain))
    if not trainer.place.is_first:
        return []
    folder = summary.checkpoint.parent / INT8_FOLDER
    exported = export_int8(plain, folder)
    tokenizer.save(folder)
    full_bytes = (summary.checkpoint / WEIGHTS_FILE).stat().st_size
    share = exported.stat().st_size / full_bytes
    return [
        ("int8 model", str(folder)),
        ("size", f"{exported.stat().st_size:,} bytes, {share:.1%} of fp32"),
        ("perplexity, fp32", f"{before.perplexity:.3f}"),
        ("perplexity, int8", f"{after.perplexity:.3f}"),
    ]


def _prepare(
    config: TrainingConfig,
    checkpoint: "Checkpoint | None",
    place: "Place",
    stop: "StopRequest",
    say: Say,
) -> "tuple[Tokenizer, TokenFiles]":
    """Return tokenizer and tokens; the first process makes them while the others wait."""
    from ivme.models.quiet import quiet_libraries
    from mm_rec.data.tokenizers import load_tokenizer
    from mm_rec.scripts.preparation import (
        WatchedDocuments,
        documents_of,
        prepare_tokenizer,
        prepare_tokens,
    )
    from mm_rec.training.distributed import from_first

    def obey() -> None:
        if stop.is_made:
            say("stopped while the data were prepared; the next start goes on from what is kept")
            raise SystemExit(_status_of(stop))

    documents = WatchedDocuments(documents=documents_of(config), watch=obey)
    for turn in (True, False):  # the first process, then the others
        if place.is_first is turn:
            with quiet_libraries():
                tokenizer = (
                    prepare_tokenizer(config, documents)
                    if checkpoint is None
                    else load_tokenizer(checkpoint.folder)
                )
            files = prepare_tokens(config, documents, tokenizer)
        from_first(None, place)
    say(
        f"data: {len(files.train):,} tokens to train on, {len(files.validation):,} held out "
        f"({files.split.rule}), vocabulary {tokenizer.vocab_size:,}"
    )
    if checkpoint is not None and checkpoint.state["facts"]["training_tokens"] != len(files.train):
        say("the data are not those that the run began with: it goes on, but not as it would have.")
    return tokenizer, files


@contextlib.contextmanager
def _listening(config: TrainingConfig, parameters: int, place: "Place") -> "Iterator[Listener]":
    """Give what listens to the run: logs and display, in the first process."""
    from mm_rec.training.reports import Listener, Listeners

    if not place.is_first:
        yield Listener()
        return
    from mm_rec.scripts.training_display import TrainingDisplay
    from mm_rec.training.logs import JsonLinesLog, TensorBoardLog

    folder = Path(config.checkpoint_dir or "")
    with contextlib.ExitStack() as after:
        log = JsonLinesLog(folder, config.log_interval)
        listeners: list[Listener] = [after.enter_context(contextlib.closing(log))]
        if config.use_tensorboard:
            board = TensorBoardLog(folder, config.log_interval)
            listeners.append(after.enter_context(contextlib.closing(board)))
        display = TrainingDisplay(parameters, _product_rate(config, place))
        yield Listeners([*listeners, after.enter_context(display)])


def _product_rate(config: TrainingConfig, place: "Place") -> float | None:
    """Return the rate of matrix products that was measured on this machine, or None."""
    from ivme.hardware.ceilings_cache import load_ceilings
    from ivme.hardware.inventory import read_inventory

    ceilings = load_ceilings(read_inventory(with_torch=place.device.type != "cpu"))
    if ceilings is None:
        _say("the machine's own rate is not known: `ivme doctor` measures it, once")
        return None
    best = ceilings.best_product("bf16" if config.use_amp else "fp32", str(place.device))
    return None if best is None else best.operations_per_s


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _shown_warnings(say: Say) -> "Iterator[None]":
    """Show what the package logs as warnings, one line each."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    logger, handler = logging.getLogger("mm_rec"), Handler(level=logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


if __name__ == "__main__":
    end_with_status(main, "pretrain")
