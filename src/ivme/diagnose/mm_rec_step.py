"""The training step of MM-Rec: the parts of its own trainer, in the trainer's order."""

from typing import TYPE_CHECKING, Any

from ivme.diagnose.mm_rec_settings import (
    is_preset,
    present_settings,
    training_config,
    training_flags,
)
from ivme.diagnose.phases import phase
from ivme.diagnose.settings import NAMES, StepSettings
from ivme.diagnose.targets import Target
from ivme.diagnose.training_step import Outline, TrainingStep
from ivme.models.quiet import quiet_libraries

if TYPE_CHECKING:
    from mm_rec.data.token_file import TokenFiles
    from mm_rec.data.tokenizers import Tokenizer
    from mm_rec.model import MMRecForCausalLM
    from mm_rec.training.configuration import TrainingConfig

# Its workers are threads, each with one batch ahead: there is no prefetch to turn.
TURNABLE = tuple(name for name in NAMES if name != "prefetch")


def outline_mm_rec(target: Target) -> Outline:
    """Return what can be turned; tokenizer and tokens are made on the way, once.

    Raises UsageError for a folder whose settings cannot be read, ConfigError or DataError for
    settings or texts that cannot be used.
    """
    present = present_settings(target)
    with quiet_libraries():
        _material(target, StepSettings(**present))
    return Outline(
        defaults=present,
        turnable=TURNABLE,
        name=target.reference,
        facts={"flags": training_flags(target)},
    )


def build_mm_rec_step(target: Target, settings: StepSettings) -> TrainingStep:
    """Return a step as `mm_rec.scripts.pretrain` makes it, logging and evaluation left out."""
    import torch

    from mm_rec.core.allocation import keep_freed_memory, return_freed_memory
    from mm_rec.core.quantization import prepare_qat
    from mm_rec.data.batches import BatchSource, PrefetchingSource
    from mm_rec.training.distributed import Place
    from mm_rec.training.gradients import accumulate_gradients
    from mm_rec.training.optimization import Optimization, precision_of
    from mm_rec.training.trainer import seed_step

    return_freed_memory() if settings.checkpointing else keep_freed_memory()
    with quiet_libraries():
        config, tokenizer, files = _material(target, settings)
        model = _model(target, config, tokenizer)
    if config.use_qat:
        prepare_qat(model)
    model.train()
    if settings.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    shared: Any = torch.compile(model) if settings.compile else model
    place = Place(device=torch.device("cpu"))
    optimization = Optimization(model, config, place)
    precision = precision_of(config, place)
    source: Any = BatchSource(
        files.train, settings.batch_size, settings.sequence_length, config.seed
    )
    if settings.workers:
        source = PrefetchingSource(source, settings.workers)
    done = [0]

    def run() -> None:
        seed_step(config.seed, done[0], 0)
        count = settings.accumulation
        with phase("data"):
            batches = [source.batch(done[0] * count + index) for index in range(count)]
        losses = accumulate_gradients(
            shared,
            batches,
            chunk_size=config.chunk_size,
            precision=precision,
            scaler=optimization.scaler,
        )
        with phase("optimizer"):
            optimization.step(done[0], 0.0, float(losses.total))
        done[0] += 1

    items = settings.batch_size * settings.accumulation
    text = _text_of(files, tokenizer, settings.sequence_length)
    return TrainingStep(
        run=run,
        tokens=items * settings.sequence_length,
        items=items,
        model=shared,
        optimizer=optimization.optimizer,
        tokenize_item=lambda: tokenizer.encode(text),
    )


def _material(
    target: Target, settings: StepSettings
) -> "tuple[TrainingConfig, Tokenizer, TokenFiles]":
    from mm_rec.data.tokenizers import load_tokenizer
    from mm_rec.scripts.preparation import documents_of, prepare_tokenizer, prepare_tokens

    config = training_config(target, settings)
    documents = documents_of(config)
    if is_preset(target):
        tokenizer = prepare_tokenizer(config, documents)
    else:
        tokenizer = load_tokenizer(target.reference)
    return config, tokenizer, prepare_tokens(config, documents, tokenizer)


def _model(target: Target, config: "TrainingConfig", tokenizer: "Tokenizer") -> "MMRecForCausalLM":
    from mm_rec.model import MMRecForCausalLM
    from mm_rec.scripts.training_model import build_model

    if is_preset(target):
        return build_model(config, tokenizer)
    return MMRecForCausalLM.from_pretrained(target.reference)


def _text_of(files: "TokenFiles", tokenizer: "Tokenizer", length: int) -> str:
    """Return the text that `length` tokens of the training file stand for."""
    return tokenizer.decode([int(one) for one in files.train.tokens(0, length)])
