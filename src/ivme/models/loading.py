"""Loading: a preset, a folder or a hub id becomes a model and tokenizer with nothing left open.

Precision, attention, device and kind are pinned and read back; weights are safetensors; code that
comes with a model is never run.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.errors import OutOfMemoryError, UsageError
from ivme.hardware.devices import choose_device
from ivme.hardware.inventory import read_inventory
from ivme.measure.clock import Clock, SystemClock
from ivme.models.generation import make_greedy
from ivme.models.kinds import (
    GENERATING,
    GOOD_FOR,
    KINDS,
    architecture_of,
    kind_of,
    refuse_other_senses,
)
from ivme.models.model_files import (
    find_class,
    first_line,
    read_config,
    read_tokenizer,
    read_weights,
)
from ivme.models.pooling import Pooling, read_pooling
from ivme.models.quiet import quiet_libraries
from ivme.models.sources import model_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16", "float16")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
CONTENT_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")  # what a model is made of
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl")
NO_LIMIT = 1_000_000  # tokenizers without a limit name a number beyond this


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready to run, and everything about it that a record should say."""

    reference: str  # as the caller named it
    folder: Path
    kind: str  # one of ivme.models.kinds.KINDS
    architecture: str  # one of ivme.models.kinds.GOOD_FOR
    model: "PreTrainedModel"  # in evaluation mode, gradients off
    tokenizer: "PreTrainedTokenizerBase"  # with a padding token
    dtype: str
    device: str
    attention: str  # what the model runs, read back after loading
    parameters: int  # tied weights counted once
    weight_bytes: int
    max_length: int | None  # tokens that the model takes; None: no limit known
    labels: tuple[str, ...]  # classifier: in the order of its outputs
    pooling: Pooling | None  # embedding: how token vectors become one
    load_s: float  # reading weights and tokenizer; building or downloading left out
    notes: tuple[str, ...] = ()  # what loading had to decide

    @property
    def good_for(self) -> str:
        """What models of this architecture are good for, in one line."""
        return GOOD_FOR[self.architecture]

    @property
    def problem_type(self) -> str | None:
        """What a classifier's config calls its problem, None where it does not say."""
        problem: str | None = getattr(self.model.config, "problem_type", None)
        return problem

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the names and contents of the model's files; read at first use."""
        digest = hashlib.sha256()
        for path in sorted({path for kind in CONTENT_FILES for path in self.folder.glob(kind)}):
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def load_model(
    reference: str,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    attention: str | None = None,
    kind: str | None = None,
    clock: Clock | None = None,
) -> LoadedModel:
    """Return the model that `reference` names: "preset:NAME", a folder's path or a hub id.

    device: "cpu", "cuda", "cuda:1", "mps"; dtype: one of DTYPES; kind: one of KINDS, None for the
    one its config names; attention: one of ATTENTIONS, None for "sdpa" where the model has it and
    "eager" elsewhere.

    Raises:
        ModelNotFoundError: there is no such model, or no way to it now.
        NotATextModelError: it reads images or sound.
        DeviceError: the device is not on this machine.
        UsageError: its files are damaged or not loaded here, or an argument is out of range.
        OutOfMemoryError: it does not fit on the device.
    """
    _check_arguments(dtype, attention, kind)
    _check_device(device)
    folder = model_folder(reference)
    config = read_config(folder, reference)
    _register_own_type(config)
    refuse_other_senses(config, reference)
    kind = kind or ("embedding" if _is_sentence_model(folder) else kind_of(config, reference))
    clock = clock or SystemClock()
    with quiet_libraries():
        model_class = find_class(config, kind, reference)
        attention = attention or ("sdpa" if model_class._supports_sdpa else "eager")
        start = clock.now()
        tokenizer, notes = read_tokenizer(folder, reference, kind)
        model = read_weights(folder, reference, config, kind, dtype, attention)
        model = _move(model, device, reference)
        load_s = clock.now() - start
    _set_padding(model, tokenizer)
    if kind in GENERATING:
        notes += make_greedy(model)
    return LoadedModel(
        reference=reference,
        folder=folder,
        kind=kind,
        architecture=architecture_of(config, kind),
        model=model,
        tokenizer=tokenizer,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        attention=model.config._attn_implementation or "none",
        parameters=sum(weight.numel() for weight in model.parameters()),
        weight_bytes=sum(weight.numel() * weight.element_size() for weight in model.parameters()),
        max_length=_max_length(model, tokenizer),
        labels=_labels(model) if kind == "classifier" else (),
        pooling=read_pooling(folder, reference) if kind == "embedding" else None,
        load_s=load_s,
        notes=notes,
    )


def _check_device(device: str) -> None:
    """Raise DeviceError unless torch can run on `device` here."""
    if device != "cpu":
        choose_device(device, read_inventory(with_torch=True))


def _register_own_type(config: Mapping[str, Any]) -> None:
    """Make Transformers know the models whose code is here: MM-Rec's, and that on a frozen one."""
    if config["model_type"] == "mm_rec":
        import mm_rec

        mm_rec.register()
    if config["model_type"] == "frozen_lm":
        from ivme.models import frozen_lm

        frozen_lm.register()


def _check_arguments(dtype: str, attention: str | None, kind: str | None) -> None:
    for name, value, allowed in (
        ("dtype", dtype, DTYPES),
        ("attention", attention, (None, *ATTENTIONS)),
        ("kind", kind, (None, *KINDS)),
    ):
        if value not in allowed:
            expected = ", ".join(repr(choice) for choice in allowed if choice)
            raise UsageError(f"{name}={value!r}; expected one of {expected}")


def _is_sentence_model(folder: Path) -> bool:
    """Return whether Sentence Transformers saved the folder, whatever class its body is."""
    return (folder / "modules.json").is_file()


def _move(model: "PreTrainedModel", device: str, reference: str) -> "PreTrainedModel":
    import torch

    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"model {reference!r} does not fit on {device}: {first_line(error)}"
        ) from error


def _set_padding(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Tell the model the padding token, which classifiers on decoders and generation ask for."""
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    if model.can_generate() and model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id


def _max_length(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """Return the tokens that both tokenizer and model take; None if neither has a limit."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions and model.config.model_type in OFFSET_POSITIONS:
        positions -= model.config.pad_token_id + 1  # the first rows are never used
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit]
    least = min(limits, default=math.inf)
    return int(least) if least < NO_LIMIT else None


def _labels(model: "PreTrainedModel") -> tuple[str, ...]:
    names = model.config.id2label
    return tuple(str(names[number]) for number in range(model.config.num_labels))
