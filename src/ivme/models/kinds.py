"""Kinds of text models: which one a config describes, and what each architecture is good for.

Reads the plain dictionary of a config.json, so that a wrong model is refused before anything
heavy happens.
"""

from collections.abc import Mapping
from typing import Any

from ivme.errors import NotATextModelError, UsageError

KINDS = ("classifier", "masked", "causal", "seq2seq", "embedding")
GENERATING = ("causal", "seq2seq")  # kinds that write their answer token by token
AUTO_CLASSES = {
    "classifier": "AutoModelForSequenceClassification",
    "masked": "AutoModelForMaskedLM",
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "embedding": "AutoModel",
}
# In this order: some classes stand in several of Transformers' tables.
TABLES = {
    "classifier": ("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",),
    "seq2seq": ("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",),
    "causal": ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",),
    "masked": ("MODEL_FOR_MASKED_LM_MAPPING_NAMES", "MODEL_FOR_PRETRAINING_MAPPING_NAMES"),
    "embedding": ("MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES", "MODEL_MAPPING_NAMES"),
}
TEXT_TABLES = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
)
OTHER_SENSES = {  # config sections and fields of models that see or hear
    "vision_config": "images",
    "image_size": "images",
    "num_channels": "images",
    "audio_config": "sound",
    "num_mel_bins": "sound",
    "feat_extract_norm": "sound",
}
RECURRENT_TYPES = ("mm_rec", "mamba", "mamba2", "rwkv", "xlstm", "recurrent_gemma")
FROZEN_TYPES = ("frozen_lm",)  # classifiers of ours on a language model; see models/frozen_lm.py
GOOD_FOR = {
    "encoder-only": "classifying, scoring and embedding whole texts: one pass reads both ways",
    "decoder-only": "writing on from a prompt: one token a pass, each from all before it",
    "recurrent": "long texts, read and written in memory that does not grow with length",
    "encoder-decoder": "turning one text into another: translating, summarizing, rewriting",
}


def kind_of(config: Mapping[str, Any], reference: str) -> str:
    """Return the kind of the model that `config` describes, one of KINDS.

    Raises:
        NotATextModelError: it reads images or sound.
        UsageError: it reads text but does something else, such as tagging tokens.
    """
    refuse_other_senses(config, reference)
    classes = config.get("architectures") or []
    for name in classes:
        for kind, tables in TABLES.items():
            if any(name in _classes(table) for table in tables):
                return kind
        for kind, auto_class in AUTO_CLASSES.items():  # of a package outside Transformers
            if kind != "embedding" and name.endswith(auto_class.removeprefix("AutoModel")):
                return kind
    if not classes:
        return _kind_of_type(config.get("model_type", ""), reference)
    raise UsageError(
        f"model {reference!r} is a {', '.join(classes)}, and none of {', '.join(KINDS)}: give "
        "kind='embedding' to measure its body"
    )


def refuse_other_senses(config: Mapping[str, Any], reference: str) -> None:
    """Raise NotATextModelError if the model reads images or sound."""
    for name, what in OTHER_SENSES.items():
        if name in config:
            raise NotATextModelError(
                f"model {reference!r} ({config.get('model_type', 'of unknown type')}) works on "
                f"{what}; give a text model: {', '.join(KINDS)}"
            )
    model_type = config.get("model_type", "")
    table = _table("CONFIG_MAPPING_NAMES")
    if model_type in table and not any(model_type in _table(name) for name in TEXT_TABLES):
        raise NotATextModelError(
            f"model {reference!r} is of type {model_type!r}, which is not a text model; give one "
            f"of these kinds: {', '.join(KINDS)}"
        )


def architecture_of(config: Mapping[str, Any], kind: str) -> str:
    """Return "encoder-only", "decoder-only", "recurrent" or "encoder-decoder"."""
    model_type = config.get("model_type", "")
    if model_type in RECURRENT_TYPES:
        return "recurrent"
    if model_type in FROZEN_TYPES:
        return "decoder-only"
    if config.get("is_encoder_decoder"):
        return "encoder-only" if kind == "embedding" else "encoder-decoder"
    is_masked_type = model_type in _table("MODEL_FOR_MASKED_LM_MAPPING_NAMES")
    is_causal_type = model_type in _table("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")
    if kind == "causal" or (is_causal_type and not is_masked_type):
        return "decoder-only"
    return "encoder-only"


def _kind_of_type(model_type: str, reference: str) -> str:
    """Return the kind that models of this type mostly are; for configs that name no class."""
    for kind in ("seq2seq", "masked", "causal"):
        if any(model_type in _table(table) for table in TABLES[kind][:1]):
            return kind
    raise UsageError(
        f"model {reference!r}: its config.json names no architecture, and the type "
        f"{model_type!r} tells no kind; give kind, one of {', '.join(KINDS)}"
    )


def _table(name: str) -> Mapping[str, Any]:
    from transformers.models.auto import modeling_auto

    return getattr(modeling_auto, name)


def _classes(table: str) -> set[str]:
    names: set[str] = set()
    for value in _table(table).values():
        names.update([value] if isinstance(value, str) else value)
    return names
