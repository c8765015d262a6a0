"""The network and tokenizer that a transformer member's training starts from.

Either pretrained, from a folder, a preset or the hub, safetensors only and no code of its own; or
small ones with random weights and a tokenizer that is trained on the texts.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ivme.ensemble.transformer_settings import FAMILIES, TransformerSettings
from ivme.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ROBERTA_OFFSET = 2  # positions before the first that a text uses
# By the names that configs have: windows and changed texts keep a base from learning by heart, and
# in the few passes that there is time for, dropout costs more than it gives.
DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
)
STANDARD_WIDTH = 768  # that the usual initial deviation of 0.02 is for


def make_classifier(
    name: str, settings: TransformerSettings, texts: Sequence[str], labels: Sequence[str]
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Return a classifier of the labels, to be trained, and its tokenizer.

    name: the member; from scratch one of FAMILIES, which says of what kind the network is.

    Raises:
        ModelNotFoundError: there is no such base.
        UsageError: the base is no text model, is damaged, or has its weights as a pickle.
    """
    from ivme.models.quiet import quiet_libraries

    names = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    with quiet_libraries():
        if settings.base is not None:
            return _pretrained(settings.base, names)
        return _from_scratch(name, settings, texts, names)


def _pretrained(
    reference: str, names: dict[str, Any]
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    import torch

    from ivme.models.kinds import refuse_other_senses
    from ivme.models.model_files import (
        find_class,
        first_line,
        one_load_at_a_time,
        read_config,
        read_tokenizer,
    )
    from ivme.models.sources import model_folder

    folder = model_folder(reference)
    config = read_config(folder, reference)
    refuse_other_senses(config, reference)
    model_class = find_class(config, "classifier", reference)
    tokenizer, _ = read_tokenizer(folder, reference, "classifier")
    try:
        with one_load_at_a_time:
            model = model_class.from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # a head for another number of labels is made anew
                problem_type="single_label_classification",
                **_without_dropout(model_class.config_class()),
                **names,
            )
    except Exception as error:  # of safetensors, of configs, of each model class
        raise UsageError(
            f"model {reference!r} cannot be fine-tuned: {first_line(error)}; give another base"
        ) from error
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _without_dropout(config: object) -> dict[str, float]:
    return {name: 0.0 for name in DROPOUTS if hasattr(config, name)}


def _from_scratch(
    name: str, settings: TransformerSettings, texts: Sequence[str], names: dict[str, Any]
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    import transformers

    from ivme.models.tokenizers import train_tokenizer

    if name not in FAMILIES:
        raise UsageError(f"member {name!r} from scratch; expected one of {', '.join(FAMILIES)}")
    is_bert = name == "BERT"
    family = "wordpiece" if is_bert else "roberta"
    tokenizer = train_tokenizer(family, settings.vocabulary_size, texts, settings.tokens)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": settings.hidden_size,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "intermediate_size": 4 * settings.hidden_size,
        "initializer_range": 0.02 * (STANDARD_WIDTH / settings.hidden_size) ** 0.5,
        "pad_token_id": tokenizer.pad_token_id,
        "problem_type": "single_label_classification",
        **names,
    }
    if is_bert:
        config: Any = transformers.BertConfig(max_position_embeddings=settings.tokens, **sizes)
        return transformers.BertForSequenceClassification(config), tokenizer
    config = transformers.RobertaConfig(
        max_position_embeddings=settings.tokens + ROBERTA_OFFSET,
        type_vocab_size=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **sizes,
    )
    return transformers.RobertaForSequenceClassification(config), tokenizer
