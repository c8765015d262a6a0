"""The training step of MM-Rec: the parts of its own trainer, in the trainer's order."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.diagnose.phases import phase
from ivme.diagnose.settings import NAMES, StepSettings
from ivme.diagnose.targets import Target
from ivme.diagnose.training_step import Outline, TrainingStep
from ivme.errors import UsageError
from ivme.hardware.cache import cache_folder
from ivme.models.quiet import quiet_libraries
from mm_rec.presets import PRESETS
from mm_rec.training.configuration import TrainingConfig, resolve

if TYPE_CHECKING:
    from mm_rec.data.token_file import TokenFiles
    from mm_rec.data.tokenizers import Tokenizer
    from mm_rec.model import MMRecForCausalLM

TURNABLE = tuple(name for name in NAMES if name != "prefetch")
# Settings of a saved run that shape its step; the rest is what a diagnosis turns.
KEPT = (
    "model_name", "tokenizer", "vocab_size", "optimizer", "learning_rate", "use_hem", "use_uboo",
    "use_qat", "dropout", "chunk_size",
)  # fmt: skip
MOST_STEPS = 1_000_000  # of the learning rate's schedule: its course costs nothing


def outline_mm_rec(target: Target) -> Outline:
    """Return what can be turned; tokenizer and tokens are made on the way, once.

    Raises UsageError for a folder whose run was of another kind than the presets know.
    """
    defaults = StepSettings()
    with quiet_libraries():
        config, tokenizer, _ = _material(target, defaults)
    saved = _saved_settings(target)
    known = {"batch_size": saved.get("batch_size"), "sequence_length": saved.get("seq_len")}
    return Outline(
        defaults={name: value for name, value in known.items() if value},
        turnable=TURNABLE,
        name=target.reference,
        facts={
            "model_name": config.model_name,
            "optimizer": config.optimizer,
            "vocabulary": tokenizer.vocab_size,
            "is_folder": target.reference not in PRESETS,
        },
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

    config = _config(target, settings)
    documents = documents_of(config)
    if target.reference in PRESETS:
        tokenizer = prepare_tokenizer(config, documents)
    else:
        tokenizer = load_tokenizer(target.reference)
    return config, tokenizer, prepare_tokens(config, documents, tokenizer)


def _config(target: Target, settings: StepSettings) -> TrainingConfig:
    saved = _saved_settings(target)
    own = {name: saved[name] for name in KEPT if saved.get(name) is not None}
    if target.reference in PRESETS:
        own["model_name"] = target.reference
    return resolve(
        TrainingConfig(
            **own,
            data_dir=target.texts,
            prepared_dir=str(_prepared_folder(target)),
            max_steps=MOST_STEPS,
            batch_size=settings.batch_size,
            seq_len=settings.sequence_length,
            gradient_accumulation_steps=settings.accumulation,
            use_amp=settings.dtype == "bfloat16",
            use_compile=settings.compile,
            use_gradient_checkpointing=settings.checkpointing,
            num_workers=settings.workers,
            device="cpu",
        )
    )


def _prepared_folder(target: Target) -> Path:
    """Return where tokenizer and tokens are kept between runs, one folder for each input."""
    place = str(Path(target.texts).absolute()) if target.texts else "corpus"
    digest = hashlib.sha256(f"{target.reference}\0{place}".encode()).hexdigest()[:12]
    return cache_folder() / "diagnose" / digest


def _saved_settings(target: Target) -> dict[str, Any]:
    """Return the settings of the run that wrote a checkpoint folder; none for a preset."""
    path = Path(target.reference, "training.json")
    if target.reference in PRESETS or not path.is_file():
        return {}
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["state"]["settings"]
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"{path} is damaged; give a checkpoint folder of mm_rec.scripts.pretrain, or a preset"
        ) from error
    return settings


def _model(target: Target, config: TrainingConfig, tokenizer: "Tokenizer") -> "MMRecForCausalLM":
    from mm_rec.model import MMRecForCausalLM
    from mm_rec.scripts.training_model import build_model

    if target.reference in PRESETS:
        return build_model(config, tokenizer)
    return MMRecForCausalLM.from_pretrained(target.reference)


def _text_of(files: "TokenFiles", tokenizer: "Tokenizer", length: int) -> str:
    """Return the text that `length` tokens of the training file stand for."""
    return tokenizer.decode([int(one) for one in files.train.tokens(0, length)])
