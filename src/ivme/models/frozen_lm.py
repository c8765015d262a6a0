"""A classifier on a language model that stays as it is: only a small network on top is learned.

The model reads a text once. Of each token it says how unlikely that was, how unsure the model was,
and how many tokens were likelier; figures of the whole text are made of that. Beside them stand the
means of its hidden states. A small network on both tells the labels apart. It is an ordinary
Transformers classifier: saved, exported and tuned like any other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

VOCABULARY_CHUNK = 2048  # logits at a time: [T, 2048] stay in the cache where [T, V] do not
MOST_LEAD = 75.0  # nats by which a token may be likelier than the one that came: exp stays finite
TIE = 0.5  # nats in which a token that is as likely counts half, so that no rank hangs on a hair

# Shares of tokens above these values are figures; steps are soft, so that none hangs on a hair.
SURPRISAL_STEPS = (0.2, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0)  # nats
EXCESS_STEPS = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 6.0)  # nats, of surprisal over entropy
ENTROPY_STEPS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0)  # nats
RANK_STEPS = (0.5, 1.5, 3.0, 4.6, 6.0, 7.6)  # log(1 + tokens that were likelier)
SOFTNESS = 0.3
PARTS = 3  # of a text, whose means are figures too
LEAST_VARIANCE = 0.05  # nats squared, where the model is sure
FAR = 10.0  # deviations times weight, of a feature at most: foreign texts are no outliers
TINY = 1e-3  # beside a variance that may be nothing
FIGURES = 12 + len(SURPRISAL_STEPS + EXCESS_STEPS + ENTROPY_STEPS + RANK_STEPS) + 7 + 3 * PARTS

Mean = Callable[[Tensor], Tensor]  # of values [B, T] over the tokens of each text, [B]


class FrozenLMConfig(PretrainedConfig):
    """Config of the classifier.

    language_model: the config of the causal language model, as a dictionary. start_token_id: put
    before each text, so that its first token is expected from something. layers: whose hidden
    states are read; 0 is the embedding. head_width: of the small network. compared_tokens: of the
    vocabulary, that each token is compared with; 0: all.
    """

    model_type = "frozen_lm"

    def __init__(
        self,
        language_model: dict[str, Any] | None = None,
        start_token_id: int = 0,
        layers: Sequence[int] = (),
        head_width: int = 64,
        compared_tokens: int = 0,
        **others: Any,
    ) -> None:
        self.language_model = language_model or {}
        self.start_token_id = start_token_id
        self.layers = list(layers)
        self.head_width = head_width
        self.compared_tokens = compared_tokens
        positions = self.language_model.get("max_position_embeddings")
        if positions:
            others["max_position_embeddings"] = positions - 1  # one is the start's
        super().__init__(**others)


class FrozenLMForSequenceClassification(PreTrainedModel):
    """Causal language model, figures and mean states of a text, and a small network on them.

    center, rate: of each feature, [features]; what is read is (feature - center) * rate. compared:
    numbers of the tokens that each one is compared with, [config.compared_tokens], if not with all.
    """

    config_class = FrozenLMConfig
    base_model_prefix = "language_model"
    _supports_sdpa = True

    def __init__(self, config: FrozenLMConfig) -> None:
        super().__init__(config)
        settings = dict(config.language_model)
        body = AutoConfig.for_model(settings.pop("model_type"), **settings)
        body._attn_implementation = config._attn_implementation
        self.language_model = AutoModelForCausalLM.from_config(body)
        width = FIGURES + len(config.layers) * body.hidden_size
        self.center = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.rate = nn.Parameter(torch.ones(width), requires_grad=False)
        if config.compared_tokens:
            self.register_buffer("compared", torch.arange(config.compared_tokens))
        self.score = nn.Sequential(
            nn.Linear(width, config.head_width),
            nn.GELU(),
            nn.Linear(config.head_width, config.num_labels),
        )
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **others: Any,
    ) -> SequenceClassifierOutput:
        """Return logits [B, labels]; ids and mask: [B, T], padded on the right.

        labels: numbers [B]; with them the loss is computed. Others are not read.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        logits = self.score(self.scaled(features(self.read(input_ids), mask)))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def scaled(self, found: Tensor) -> Tensor:
        """Return features as the network reads them, [B, features]; none is far out."""
        return torch.clamp((found - self.center) * self.rate, -FAR, FAR)

    def read(self, input_ids: Tensor) -> "Reading":
        """Return what the language model makes of each token, [B, T], padded on the right.

        No token sees what follows it, so padding needs no mask here.
        """
        starts = torch.full_like(input_ids[:, :1], self.config.start_token_id)
        tokens = torch.cat([starts, input_ids], dim=1)
        output = self.language_model.base_model(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),  # without one, Transformers looks for packing
            output_hidden_states=True,
            use_cache=False,
        )
        head = self.language_model.get_output_embeddings().weight
        compared = self.compared if self.config.compared_tokens else None
        return Reading(
            scores=token_scores(output.last_hidden_state[:, :-1], head, input_ids, compared),
            states=tuple(output.hidden_states[layer][:, 1:] for layer in self.config.layers),
        )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """scores: of token_scores, [B, T, 4]; states: hidden ones of each layer read, [B, T, D]."""

    scores: Tensor
    states: tuple[Tensor, ...]


def features(reading: Reading, attention_mask: Tensor) -> Tensor:
    """Return what the small network reads of the tokens under the mask, float32 [B, features]."""
    shares = attention_mask.float()
    shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=1)
    means = [(shares[:, None] @ states.float()).squeeze(1) for states in reading.states]
    return torch.cat([figures(reading.scores, attention_mask), *means], dim=1)


def token_scores(
    hidden: Tensor, head: Tensor, targets: Tensor, compared: Tensor | None = None
) -> Tensor:
    """Return of each token surprisal, entropy, variance and log rank, float32 [B, T, 4].

    hidden: last states before each token, [B, T, D]; head: [V, D]; targets: the tokens, [B, T].
    compared: numbers of the tokens that could have come beside the target, [C]; None: all.
    Surprisal: -log of a token's probability; entropy and variance: mean and variance of surprisal
    over all tokens that could have come, in nats; log rank: log(1 + tokens that were likelier).
    The vocabulary is gone through once, in chunks.
    """
    own = (hidden * head[targets]).sum(dim=-1, keepdim=True).float()
    total = first = second = likelier = torch.zeros_like(own[..., 0])
    if compared is not None:  # a target that is not among them could have come all the same
        is_compared = torch.zeros_like(head[:, 0], dtype=torch.float32).scatter(0, compared, 1.0)
        total = 1 - is_compared[targets]
        likelier = total / 2  # as a token that is as likely as itself
        head = head[compared]
    for at in range(0, head.shape[0], VOCABULARY_CHUNK):
        logits = (hidden @ head[at : at + VOCABULARY_CHUNK].T).float()
        lead = torch.clamp(logits - own, max=MOST_LEAD)
        likelier = likelier + torch.clamp(lead / TIE + 0.5, 0, 1).sum(dim=-1)
        weights = torch.exp(lead)
        total = total + weights.sum(dim=-1)
        weights = weights * lead
        first = first + weights.sum(dim=-1)
        second = second + (weights * lead).sum(dim=-1)
    surprisal, mean = torch.log(total), first / total
    variance = torch.relu(second / total - mean * mean)
    return torch.stack([surprisal, surprisal - mean, variance, torch.log1p(likelier)], dim=-1)


def figures(scores: Tensor, attention_mask: Tensor) -> Tensor:
    """Return how expected texts are, [B, FIGURES]; scores: of token_scores, mask: [B, T].

    Means, deviations, shares above steps, the curvature of Fast-DetectGPT (arXiv 2310.05130), how
    neighboring tokens go together, and means of each part of the text. Lengths are left out.
    """
    mask = attention_mask.float()
    count = mask.sum(dim=1).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return (values * mask).sum(dim=1) / count

    surprisal, entropy, variance, rank = scores.unbind(dim=-1)
    excess = surprisal - entropy
    scaled = excess / torch.sqrt(variance + LEAST_VARIANCE)
    found = []
    for values in (surprisal, excess, entropy, rank, scaled, variance):
        found += [mean(values), torch.sqrt(_variance(values, mean))]
    for values, steps in (
        (surprisal, SURPRISAL_STEPS),
        (excess, EXCESS_STEPS),
        (entropy, ENTROPY_STEPS),
        (rank, RANK_STEPS),
    ):
        found += [mean(torch.sigmoid((values - step) / SOFTNESS)) for step in steps]
    found.append(mean(excess) / torch.sqrt(mean(variance) + LEAST_VARIANCE))
    found.append(mean(surprisal) / (mean(rank) + LEAST_VARIANCE))
    pairs = mask[:, 1:] * mask[:, :-1]
    for values in (surprisal, excess, entropy, rank):
        found.append(_neighbors(values, mean, pairs))
    found.append(_correlation(surprisal, entropy, mean))
    return torch.stack(found + _by_part((surprisal, excess, rank), mask, count), dim=1)


def register() -> None:
    """Make the Auto classes of Transformers know the classifier; again changes nothing."""
    from transformers import AutoModelForSequenceClassification

    AutoConfig.register(FrozenLMConfig.model_type, FrozenLMConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(
        FrozenLMConfig, FrozenLMForSequenceClassification, exist_ok=True
    )


def _variance(values: Tensor, mean: Mean) -> Tensor:
    return mean((values - mean(values)[:, None]) ** 2) + TINY


def _neighbors(values: Tensor, mean: Mean, pairs: Tensor) -> Tensor:
    """Return the correlation of each token's value with the next one's, [B]."""
    centered = values - mean(values)[:, None]
    together = (centered[:, 1:] * centered[:, :-1] * pairs).sum(dim=1)
    return together / pairs.sum(dim=1).clamp(min=1) / _variance(values, mean)


def _correlation(one: Tensor, other: Tensor, mean: Mean) -> Tensor:
    covariance = mean((one - mean(one)[:, None]) * (other - mean(other)[:, None]))
    return covariance / torch.sqrt(_variance(one, mean) * _variance(other, mean))


def _by_part(values: Sequence[Tensor], mask: Tensor, count: Tensor) -> list[Tensor]:
    """Return the means of the values in each of PARTS equal parts of each text."""
    place = (mask.cumsum(dim=1) - 0.5) / count[:, None]
    found = []
    for part in range(PARTS):
        inside = mask * (place >= part / PARTS) * (place < (part + 1) / PARTS)
        size = inside.sum(dim=1).clamp(min=1)
        found += [(one * inside).sum(dim=1) / size for one in values]
    return found
