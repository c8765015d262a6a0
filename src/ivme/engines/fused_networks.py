"""Which networks the fused kernels compute, and where those keep their weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from ivme.models.loading import LoadedModel

WIDTHS = 64  # of which widths must be multiples
HEAD_WIDTHS = 16

# Names within a layer: queries, keys, values, output, its norm, up, down, its norm.
BERT_LAYER = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
DISTILBERT_LAYER = (
    "attention.q_lin",
    "attention.k_lin",
    "attention.v_lin",
    "attention.out_lin",
    "sa_layer_norm",
    "ffn.lin1",
    "ffn.lin2",
    "output_layer_norm",
)


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the networks of a family call their parts.

    head: layers of a classifier's head, in the whole network, with what follows each. eps: of
    norms, a number or what the config calls it. skipped: positions before the first.
    """

    layers: str
    layer: Sequence[str]
    head: Sequence[tuple[str, str]]
    activation: str
    has_types: bool = True
    skips_positions: bool = False
    eps: str | float = "layer_norm_eps"


BERT = Family(
    layers="encoder.layer",
    layer=BERT_LAYER,
    head=(("bert.pooler.dense", "tanh"), ("classifier", "none")),
    activation="hidden_act",
)
ROBERTA = Family(
    layers="encoder.layer",
    layer=BERT_LAYER,
    head=(("classifier.dense", "tanh"), ("classifier.out_proj", "none")),
    activation="hidden_act",
    skips_positions=True,
)
DISTILBERT = Family(
    layers="transformer.layer",
    layer=DISTILBERT_LAYER,
    head=(("pre_classifier", "relu"), ("classifier", "none")),
    activation="activation",
    has_types=False,
    eps=1e-12,
)

FAMILIES = {  # classes of transformers, by kind of model
    "classifier": {
        "BertForSequenceClassification": BERT,
        "RobertaForSequenceClassification": ROBERTA,
        "XLMRobertaForSequenceClassification": ROBERTA,
        "DistilBertForSequenceClassification": DISTILBERT,
    },
    "embedding": {
        "BertModel": BERT,
        "RobertaModel": ROBERTA,
        "XLMRobertaModel": ROBERTA,
        "DistilBertModel": DISTILBERT,
    },
}


def family_of(model: "LoadedModel") -> Family | None:
    """Return the family of the model's network, None if the kernels know none of it."""
    network = type(model.model)
    if not network.__module__.startswith("transformers."):
        return None
    return FAMILIES.get(model.kind, {}).get(network.__name__)


def unknown_network(model: "LoadedModel") -> str | None:
    """Return what the kernels do not compute of the model, or None if they compute it."""
    family = family_of(model)
    if family is None:
        return (
            "engine=fused knows classifiers and embedding models of BERT, RoBERTa, XLM-RoBERTa and "
            f"DistilBERT, and {model.reference} is a {type(model.model).__name__} ({model.kind}); "
            "use engine=openvino"
        )
    config = model.model.config
    heads = config.num_attention_heads
    wrong = {
        f"{family.activation}={getattr(config, family.activation)}": (
            getattr(config, family.activation) != "gelu"
        ),
        f"a width of {config.hidden_size}": config.hidden_size % WIDTHS != 0,
        f"an inner width of {inner_width(config)}": inner_width(config) % WIDTHS != 0,
        f"{heads} heads of {config.hidden_size // heads}": (
            config.hidden_size % heads != 0 or config.hidden_size // heads % HEAD_WIDTHS != 0
        ),
        "positions that are relative": (
            getattr(config, "position_embedding_type", "absolute") != "absolute"
        ),
        "a decoder": getattr(config, "is_decoder", False),
    }
    reasons = [what for what, is_wrong in wrong.items() if is_wrong]
    if not reasons:
        return None
    return (
        f"{model.reference} has {', '.join(reasons)}; engine=fused computes GELU, widths in "
        f"multiples of {WIDTHS} and heads in multiples of {HEAD_WIDTHS}: use engine=openvino"
    )


def part(network: "nn.Module", name: str) -> Any:
    """Return the part of a network that a dotted name stands for."""
    return network.get_submodule(name)


def inner_width(config: Any) -> int:
    """Return the columns between a layer's two last products, by either of their names."""
    width: int = getattr(config, "intermediate_size", None) or config.hidden_dim
    return width
