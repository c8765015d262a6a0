"""Loading: a preset, a folder or a hub id becomes a model and tokenizer with nothing left open.

Precision, attention, device and kind are pinned and read back; weights are safetensors; code that
comes with a model is never run.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.errors import DeviceError, OutOfMemoryError, UsageError
from ivme.measure.clock import Clock, SystemClock
from ivme.models.generation import make_greedy
from ivme.models.kinds import (
    AUTO_CLASSES,
    GOOD_FOR,
    KINDS,
    architecture_of,
    kind_of,
    refuse_other_senses,
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
    architecture: str  # "encoder-only", "decoder-only", "encoder-decoder"
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
    check_device(device)
    folder = model_folder(reference)
    config = _read_config(folder, reference)
    refuse_other_senses(config, reference)
    kind = kind or ("embedding" if _is_sentence_model(folder) else kind_of(config, reference))
    clock = clock or SystemClock()
    with quiet_libraries():
        model_class = _model_class(config, kind, reference)
        attention = attention or ("sdpa" if model_class._supports_sdpa else "eager")
        start = clock.now()
        tokenizer, notes = _load_tokenizer(folder, reference, kind)
        model = _load_weights(folder, reference, config, kind, dtype, attention)
        model = _move(model, device, reference)
        load_s = clock.now() - start
    _set_padding(model, tokenizer)
    if kind in ("causal", "seq2seq"):
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


def check_device(device: str) -> None:
    """Raise DeviceError unless torch can run on `device` here."""
    import torch

    usable = ["cpu"]
    if torch.cuda.is_available():
        usable += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        usable.append("mps")
    if device not in usable:
        raise DeviceError(f"device={device!r} is not on this machine; usable: {', '.join(usable)}")


def _check_arguments(dtype: str, attention: str | None, kind: str | None) -> None:
    for name, value, allowed in (
        ("dtype", dtype, DTYPES),
        ("attention", attention, (None, *ATTENTIONS)),
        ("kind", kind, (None, *KINDS)),
    ):
        if value not in allowed:
            expected = ", ".join(repr(choice) for choice in allowed if choice)
            raise UsageError(f"{name}={value!r}; expected one of {expected}")


def _read_config(folder: Path, reference: str) -> Mapping[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bad JSON and bad UTF-8 alike
        raise UsageError(f"model {reference!r}: {path} is not valid JSON: {error}") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise UsageError(
            f"model {reference!r}: {path} names no model_type, so it is not the config of a "
            "Transformers model; save the model with save_pretrained()"
        )
    return config


def _is_sentence_model(folder: Path) -> bool:
    """Return whether Sentence Transformers saved the folder, whatever class its body is."""
    return (folder / "modules.json").is_file()


def _load_tokenizer(
    folder: Path, reference: str, kind: str
) -> "tuple[PreTrainedTokenizerBase, tuple[str, ...]]":
    """Return the tokenizer, with a padding token, and what had to be decided."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # each tokenizer class fails in its own way
        raise UsageError(
            f"model {reference!r}: its tokenizer cannot be read ({_first_line(error)}); save it "
            "again: AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        ) from error
    if kind == "causal":
        tokenizer.padding_side = "left"  # new tokens follow the text, not its padding
    if tokenizer.pad_token is not None:
        return tokenizer, ()
    if tokenizer.eos_token is None:
        raise UsageError(
            f"model {reference!r}: its tokenizer has neither a padding nor an end token; set "
            "tokenizer.pad_token and save it again"
        )
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, (f"no padding token; {tokenizer.eos_token!r} stands in for it",)


def _load_weights(
    folder: Path,
    reference: str,
    config: Mapping[str, Any],
    kind: str,
    dtype: str,
    attention: str,
) -> "PreTrainedModel":
    """Return the model on the CPU, evaluating, gradients off; raises UsageError if damaged."""
    import torch

    try:
        model, report = _auto_class(config, kind).from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # of safetensors, of configs, of each model class
        raise UsageError(_why_not_loaded(reference, kind, error)) from error
    _refuse_missing_weights(report, reference, kind)
    if config.get("is_encoder_decoder") and kind == "embedding" and hasattr(model, "encoder"):
        model = model.get_encoder()
    return model.eval().requires_grad_(False)


def _model_class(config: Mapping[str, Any], kind: str, reference: str) -> Any:
    """Return the class that the model will be of, imported, so that imports are not timed.

    Raises:
        UsageError: Transformers has no class of this kind for the model's type.
    """
    import transformers.quantizers.auto  # noqa: F401 (every from_pretrained() comes by here)
    from transformers import CONFIG_MAPPING

    model_type = config["model_type"]
    if model_type not in CONFIG_MAPPING:
        raise UsageError(
            f"model {reference!r} is of type {model_type!r}, which needs code that Transformers "
            "does not have, and code that comes with a model is not run; give another model"
        )
    classes = _auto_class(config, kind)._model_mapping
    found = classes.get(CONFIG_MAPPING[model_type], None)
    if found is None:
        raise UsageError(
            f"model {reference!r} is of type {model_type!r}, of which there is no kind={kind!r}; "
            "leave kind out to take the one that its config names"
        )
    return found[0] if isinstance(found, tuple) else found


def _auto_class(config: Mapping[str, Any], kind: str) -> Any:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

    has_decoder_to_leave_out = config.get("is_encoder_decoder") and kind == "embedding"
    if has_decoder_to_leave_out and config["model_type"] in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES:
        return transformers.AutoModelForTextEncoding
    return getattr(transformers, AUTO_CLASSES[kind])


def _why_not_loaded(reference: str, kind: str, error: Exception) -> str:
    reason = _first_line(error)
    if type(error).__name__ == "SafetensorError":
        return (
            f"model {reference!r}: its safetensors file is damaged ({reason}); copy or download "
            "it again"
        )
    return f"model {reference!r} cannot be loaded as kind={kind!r}: {reason}"


def _refuse_missing_weights(report: Mapping[str, Any], reference: str, kind: str) -> None:
    """Raise UsageError if the files lack weights that the answers depend on."""
    missing = sorted(report["missing_keys"])
    mismatched = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    lacking = missing + mismatched
    if kind == "embedding":
        lacking = [name for name in lacking if "pooler" not in name]  # not used here
    if lacking:
        raise UsageError(
            f"model {reference!r} has no fitting weights for {len(lacking)} tensors of a {kind} "
            f"model ({lacking[0]}, ...), so its answers would be random; give a model trained for "
            "it, or another kind"
        )


def _move(model: "PreTrainedModel", device: str, reference: str) -> "PreTrainedModel":
    import torch

    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"model {reference!r} does not fit on {device}: {_first_line(error)}"
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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
