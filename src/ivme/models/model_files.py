"""What a model folder holds, read: config, tokenizer, weights; nothing damaged, nothing run.

Each way to fail ends in one line that says what is wrong with the folder and what to do.
"""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.errors import UsageError
from ivme.models.kinds import AUTO_CLASSES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# While Transformers loads a model it replaces `tie_weights` of all models, and then puts back what
# it found: two loads at a time leave the empty function there, and every later model untied.
one_load_at_a_time = threading.Lock()


def read_config(folder: Path, reference: str) -> Mapping[str, Any]:
    """Return config.json as a dictionary; raises UsageError unless it describes a model."""
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


def read_tokenizer(
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
            f"model {reference!r}: its tokenizer cannot be read ({first_line(error)}); save it "
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


def read_weights(
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
        with one_load_at_a_time:
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


def find_class(config: Mapping[str, Any], kind: str, reference: str) -> Any:
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
    reason = first_line(error)
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


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its name if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
