"""The settings of a training run: plain values, their checks, and what suits each preset.

Knows no torch, so that the command line can read and refuse them at once.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_rec.errors import ConfigError
from mm_rec.presets import PRESETS


def setting(default: Any, help_text: str, *choices: str) -> Any:
    """Return a field of TrainingConfig with what the command line tells about it."""
    return dataclasses.field(default=default, metadata={"help": help_text, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What a training run does. None: filled in by `resolve`, from the preset or other settings.

    Raises ConfigError, naming the flag, for a value that is not allowed.
    """

    data_dir: str | None = setting(
        None, "file or folder of .txt, .jsonl or .csv texts; without it, the built-in corpus"
    )
    model_name: str = setting("mm-rec-2m", "preset of the model", *PRESETS)
    tokenizer: str | None = setting(
        None, "bpe, bytes, characters, or a Hugging Face tokenizer folder; as suits the preset"
    )
    vocab_size: int | None = setting(None, "entries of a trained bpe tokenizer; the preset's")
    text_field: str = setting("text", "key or column of the text in .jsonl and .csv files")
    validation: str | None = setting(
        None, "hold out whole documents or the tail of all text; documents if there are 100",
        "documents", "tail",
    )  # fmt: skip
    validation_share: float = setting(0.1, "share of the text that is held out")
    prepared_dir: str | None = setting(
        None, "folder of tokenizer and tokens, to share between runs; CHECKPOINT_DIR/prepared"
    )

    max_steps: int | None = setting(None, "optimizer steps; 1000 if --max_minutes is not given")
    max_minutes: float | None = setting(None, "end the training after so long, whatever the step")
    schedule_by: str | None = setting(
        None, "what the learning rate follows; time if only --max_minutes is given", "steps", "time"
    )
    batch_size: int | None = setting(None, "texts a process and pass; as suits the preset")
    seq_len: int | None = setting(None, "tokens of each text; as suits the preset")
    gradient_accumulation_steps: int = setting(1, "passes whose gradients make one step")
    chunk_size: int | None = setting(
        None, "truncated backpropagation: read so many tokens at a time, in constant memory"
    )

    optimizer: str | None = setting(
        None, "muon: matrices by orthogonal momentum, AdamW for the rest; adamw: all by AdamW; as "
        "suits the preset", "adamw", "muon",
    )  # fmt: skip
    learning_rate: float | None = setting(None, "peak learning rate; as suits the preset")
    lr_schedule: str = setting(
        "cosine", "shape of the learning rate after warm-up",
        "cosine", "constant", "warmup-stable-decay",
    )  # fmt: skip
    min_lr_share: float = setting(0.05, "last learning rate over the peak one")
    warmup_steps: int | None = setting(None, "steps to the peak; 50, or a tenth of --max_steps")
    weight_decay: float = setting(0.1, "decay of matrices; biases and norms have none")
    adam_beta1: float = setting(0.9, "how slowly AdamW's mean moves")
    adam_beta2: float = setting(0.99, "how slowly AdamW's mean square moves")
    grad_clip: float = setting(1.0, "largest norm of the gradients; 0: any")
    grad_norm_guard: float = setting(
        100.0, "skip a step whose gradient norm is so many times the usual one; 0: never"
    )
    use_adaptive_lr: bool = setting(False, "lower the rate where the validation loss stalls")
    adaptive_lr_patience: int = setting(3, "evaluations without improvement before that")
    adaptive_lr_factor: float = setting(0.5, "what the rate is multiplied by then")

    use_hem: bool = setting(True, "compute the input projections as one fused product")
    use_uboo: bool = setting(False, "add the planning loss")
    use_qat: bool = setting(False, "train for int8: fake-quantized, exported at the end")
    use_amp: bool = setting(False, "compute in bfloat16 where that is safe")
    use_compile: bool = setting(False, "compile the model with torch.compile")
    use_gradient_checkpointing: bool = setting(False, "recompute activations to save memory")
    dropout: float = setting(0.0, "probability, on the embedding and both residual branches")

    device: str = setting("auto", "cpu, cuda, cuda:1; auto: a GPU if there is one")
    parallel: str | None = setting(None, "how processes of torchrun share the work", "ddp", "fsdp")
    num_workers: int = setting(0, "threads that make batches ahead of time")
    seed: int = setting(0, "of the weights, the order of the texts and the samples")

    checkpoint_dir: str | None = setting(None, "folder of the run; runs/MODEL_NAME")
    checkpoint_interval: int = setting(500, "steps between checkpoints")
    keep_checkpoints: int = setting(3, "newest checkpoints that are kept")
    resume_from: str | None = setting(
        None, "run or checkpoint folder to go on from, with its settings where none are given"
    )
    log_interval: int = setting(10, "steps between lines of the log")
    eval_interval: int = setting(250, "steps between evaluations; 0: only at the end")
    eval_batches: int = setting(20, "batches of an evaluation on the way; the last takes all")
    sample_interval: int = setting(500, "steps between samples of generated text; 0: none")
    sample_prompt: str = setting("", "what the samples go on from; the start of a document")
    sample_tokens: int = setting(120, "tokens of a sample")
    use_tensorboard: bool = setting(True, "write a log for TensorBoard too")

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        for one in dataclasses.fields(self):
            value, allowed = getattr(self, one.name), one.metadata["choices"]
            if value is not None and allowed and value not in allowed:
                raise ConfigError(
                    f"--{one.name} {value}: expected one of {', '.join(sorted(allowed))}."
                )
        _check(self, "a whole number of at least 1", lambda value: value >= 1, _COUNTS)
        _check(self, "a whole number of at least 0", lambda value: value >= 0, _COUNTS_OR_ZERO)
        _check(self, "a number above 0", lambda value: 0 < value < math.inf, _POSITIVE)
        _check(self, "a number from 0 up", lambda value: 0 <= value < math.inf, _NOT_NEGATIVE)
        _check(self, "a number in [0, 1)", lambda value: 0 <= value < 1, _PARTS)
        _check(self, "a number in (0, 1)", lambda value: 0 < value < 1, _SHARES)
        if self.optimizer == "muon" and self.parallel == "fsdp":
            raise ConfigError(
                "--optimizer muon: expected whole matrices, and --parallel fsdp spreads them; use "
                "--optimizer adamw, or --parallel ddp."
            )
        if self.schedule_by == "time" and self.max_minutes is None:
            raise ConfigError("--schedule_by time: expected --max_minutes with it.")
        if self.schedule_by == "steps" and self.max_minutes is not None and self.max_steps is None:
            raise ConfigError("--schedule_by steps: expected --max_steps beside --max_minutes.")
        if self.use_adaptive_lr and not self.eval_interval:
            raise ConfigError(
                "--use_adaptive_lr: expected --eval_interval of at least 1, not 0: it acts on "
                "evaluations on the way."
            )

    def changed(self, **settings: Any) -> "TrainingConfig":
        """Return a copy with some settings replaced."""
        return dataclasses.replace(self, **settings)


_COUNTS = (
    "vocab_size", "max_steps", "batch_size", "seq_len", "gradient_accumulation_steps", "chunk_size",
    "checkpoint_interval", "keep_checkpoints", "log_interval", "eval_batches", "sample_tokens",
)  # fmt: skip
_COUNTS_OR_ZERO = (
    "warmup_steps", "num_workers", "seed", "eval_interval", "sample_interval",
    "adaptive_lr_patience",
)  # fmt: skip
_POSITIVE = ("learning_rate", "max_minutes")
_NOT_NEGATIVE = ("weight_decay", "grad_clip", "grad_norm_guard")
_PARTS = ("adam_beta1", "adam_beta2", "dropout", "min_lr_share")
_SHARES = ("validation_share", "adaptive_lr_factor")


def _check(config: TrainingConfig, expected: str, is_allowed: Any, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not is_allowed(value):
            raise ConfigError(f"--{name} {value}: expected {expected}.")


DEFAULT_STEPS = 1000
DEFAULT_WARMUP_STEPS = 50
# What suits each preset on a processor, where the command line leaves it open.
SUITABLE: dict[str, dict[str, Any]] = {
    "mm-rec-1m-char": {
        "tokenizer": "characters", "batch_size": 12, "seq_len": 256, "learning_rate": 5e-3,
        "optimizer": "muon",
    },
    "mm-rec-2m-char": {
        "tokenizer": "characters", "batch_size": 12, "seq_len": 256, "learning_rate": 4e-3,
        "optimizer": "muon",
    },
    "mm-rec-2m": {"tokenizer": "bpe", "batch_size": 16, "seq_len": 256, "learning_rate": 3e-3},
    "mm-rec-10m": {"tokenizer": "bpe", "batch_size": 16, "seq_len": 256, "learning_rate": 2e-3},
    "mm-rec-100m": {"tokenizer": "bpe", "batch_size": 16, "seq_len": 512, "learning_rate": 6e-4},
}  # fmt: skip


def resolve(config: TrainingConfig) -> TrainingConfig:
    """Return the settings with every gap filled that can be without looking at data or machine."""
    folder = config.checkpoint_dir or str(Path("runs") / config.model_name)
    is_timed = config.max_minutes is not None and config.max_steps is None
    max_steps = config.max_steps if is_timed else config.max_steps or DEFAULT_STEPS
    most_warmup = DEFAULT_WARMUP_STEPS if max_steps is None else max_steps // 10
    filled = {
        "optimizer": "adamw",
        **SUITABLE[config.model_name],
        "vocab_size": PRESETS[config.model_name]["vocab_size"],
        "checkpoint_dir": folder,
        "prepared_dir": str(Path(folder) / "prepared"),
        "max_steps": max_steps,
        "schedule_by": "time" if is_timed else "steps",
        "warmup_steps": min(DEFAULT_WARMUP_STEPS, most_warmup),
    }
    if config.parallel == "fsdp":
        filled["optimizer"] = "adamw"  # Muon takes whole matrices
    gaps = {name: value for name, value in filled.items() if getattr(config, name) is None}
    return config.changed(**gaps)
