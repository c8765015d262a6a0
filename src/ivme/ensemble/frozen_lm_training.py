"""Training of the member on a language model that stays as it is.

Each text goes through the language model once, since nothing in it changes; then small networks
learn from what was read, in seconds, and become one. A beginning of a text costs nothing more, as
no token depends on what follows it: so the member learns short texts too. Some texts are read once
more, changed. Both count less than the texts as they are, which is what most texts will be.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from ivme.ensemble.augmentation import disguised
from ivme.ensemble.groups import CHARACTERS_PER_TOKEN, readable_text
from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.ensemble.training_place import torch_as_it_was, training_device
from ivme.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import BatchEncoding, PreTrainedTokenizerBase

    from ivme.models.frozen_lm import FrozenLMForSequenceClassification

LARGE_VOCABULARY = 65_536  # tokens; of more, frequent ones and those of the texts are compared
COMMON_TOKENS = 8_192  # the first of a vocabulary: they were merged first, so they are frequent
LAYERS = 5  # whose hidden states are read, evenly spread, the last one among them
READ_AT_ONCE = 2  # texts; more fall out of the cache
LEAST_TOKENS = 40  # in a beginning
LEAST_DEVIATION = 0.01  # of a feature, below which it is rounding that differs
WHOLE_WEIGHT, BEGINNING_WEIGHT, CHANGED_WEIGHT = 1.0, 0.1, 0.3  # how much such a row counts
FIGURES_WEIGHT = 4.0  # of a figure beside a hidden state's mean: there are fewer of them
NETWORKS, WIDTH = 3, 128  # trained apart; their mean is as good as the best of them
EPOCHS, BATCH_SIZE = 15, 64
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.1
FEATURE_DROPOUT, HEAD_DROPOUT = 0.5, 0.3  # thousands of features for thousands of texts

Item = tuple[str, int, float]  # text, number of its label, how much it counts


@dataclass(frozen=True, kw_only=True)
class FrozenLMSettings:
    """How the member is trained.

    base: a causal language model's folder, preset or hub id. max_length: tokens of a text.
    changed_share: of the texts that are read once more, misspelled, without marks and the like.
    device: None: the fastest that is there.
    """

    base: str
    max_length: int = 512
    changed_share: float = 0.15
    seed: int = 0
    threads: int = 1
    device: str | None = None

    def __post_init__(self) -> None:
        if self.max_length < LEAST_TOKENS or self.threads < 1 or not 0 <= self.changed_share <= 1:
            raise UsageError(
                f"max_length={self.max_length}, threads={self.threads}, changed_share="
                f"{self.changed_share}; expected {LEAST_TOKENS} tokens or more, one thread or "
                "more, a share from 0 to 1"
            )


def train_frozen_lm(
    name: str,
    data: LabeledTexts,
    labels: tuple[str, ...],
    folder: Path,
    *,
    settings: FrozenLMSettings,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train the member, save it in the folder as save_pretrained does, return how that went.

    Raises:
        ModelNotFoundError: there is no such base.
        UsageError: the base is no causal language model, or its tokenizer marks no start or end.
    """
    import torch

    device, autocast = training_device(settings.device)
    with torch_as_it_was(settings.threads):
        torch.manual_seed(settings.seed)
        model, tokenizer = make_frozen_lm(settings, labels, data.texts)
        progress(f"Training {name}: {settings.base} reads {len(data):,} texts on {device}...")
        # Weights in bfloat16 where it is fast; those that are saved stay as they are.
        read_by = (model if autocast is None else deepcopy(model).bfloat16()).to(device)
        reader = _Reader(read_by, tokenizer, settings)
        rows = reader.rows_of(data.texts, data.numbers(labels).tolist(), progress)
        _fit_head(model.to("cpu"), rows)
        model.eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        with torch.inference_mode():
            found = model.score(model.scaled(rows.features)).argmax(dim=1)
    accuracy = float((found == rows.numbers).float().mean())
    count = len(rows.numbers)
    progress(f"Training {name}: {count:,} texts and beginnings, {accuracy:.1%} of them right")
    return {
        "settings": asdict(settings),
        "device": device,
        "read_in": "float32" if autocast is None else "bfloat16",
        "texts": len(data),
        "rows": count,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "train_accuracy": accuracy,
    }


def make_frozen_lm(
    settings: FrozenLMSettings, labels: Sequence[str], texts: Sequence[str] = ()
) -> "tuple[FrozenLMForSequenceClassification, PreTrainedTokenizerBase]":
    """Return the member with a network that has learned nothing yet, and its tokenizer.

    texts: of the kind that will be read. Of a large vocabulary, made for all languages, frequent
    tokens and those that they contain are compared; without texts all are.

    Raises:
        ModelNotFoundError: there is no such base.
        UsageError: the base is no causal language model, or its tokenizer marks no start or end.
    """
    import torch

    from ivme.models.frozen_lm import FrozenLMConfig, FrozenLMForSequenceClassification
    from ivme.models.loading import load_model

    base = load_model(settings.base)
    if base.kind != "causal" or base.architecture != "decoder-only":
        raise UsageError(
            f"language model {settings.base!r} is a {base.kind} model ({base.architecture}); give "
            "a decoder that predicts the next token, as GPT-2 or Llama"
        )
    tokenizer = base.tokenizer
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise UsageError(
            f"language model {settings.base!r}: its tokenizer has neither a start nor an end "
            "token; set tokenizer.bos_token and save it again"
        )
    tokenizer.add_bos_token = tokenizer.add_eos_token = False  # the member puts a start there
    limits = (settings.max_length, base.max_length and base.max_length - 1)
    tokenizer.model_max_length = min(limit for limit in limits if limit)
    tokenizer.padding_side = "right"
    compared: list[int] = []
    if texts and base.model.get_output_embeddings().weight.shape[0] > LARGE_VOCABULARY:
        compared = _tokens_to_compare(tokenizer, texts)
    last = base.model.config.num_hidden_layers
    config = FrozenLMConfig(
        language_model=base.model.config.to_diff_dict()
        | {"model_type": base.model.config.model_type},
        start_token_id=start,
        pad_token_id=tokenizer.pad_token_id,
        layers=sorted({round(last * part / LAYERS) for part in range(1, LAYERS + 1)}),
        head_width=NETWORKS * WIDTH,
        compared_tokens=len(compared),
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        problem_type="single_label_classification",
    )
    model = FrozenLMForSequenceClassification(config)
    model.language_model.load_state_dict(base.model.state_dict())
    if compared:
        model.compared.copy_(torch.tensor(compared))
    return model, tokenizer


def _tokens_to_compare(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[int]:
    """Return the numbers of frequent tokens and of those that texts contain, sorted."""
    found = set(range(COMMON_TOKENS))
    for text in texts:
        found.update(_encode(tokenizer, [text])["input_ids"][0])
    return sorted(found)


def _encode(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], **options: Any
) -> "BatchEncoding":
    limit = tokenizer.model_max_length
    readable = [readable_text(text, limit * CHARACTERS_PER_TOKEN) for text in texts]
    return tokenizer(readable, truncation=True, max_length=limit, **options)


@dataclass(frozen=True, eq=False)
class _Rows:
    """features [rows, features], number of each row's label [rows], how much it counts [rows]."""

    features: "torch.Tensor"
    numbers: "torch.Tensor"
    weights: "torch.Tensor"


@dataclass(frozen=True)
class _Reader:
    """Reads texts, and returns features of each and of a beginning of it."""

    model: "FrozenLMForSequenceClassification"
    tokenizer: "PreTrainedTokenizerBase"
    settings: FrozenLMSettings

    def rows_of(
        self, texts: Sequence[str], numbers: Sequence[int], progress: Callable[[str], None]
    ) -> _Rows:
        """Return rows of all texts, of a beginning of each, and of changed copies."""
        import torch

        chance = Random(self.settings.seed)
        items = [(text, number, WHOLE_WEIGHT) for text, number in zip(texts, numbers, strict=True)]
        for at in chance.sample(range(len(texts)), round(self.settings.changed_share * len(texts))):
            items.append((disguised(texts[at], chance), numbers[at], CHANGED_WEIGHT))
        features, row_numbers, weights, read = [], [], [], 0
        told = 0.1
        for batch in _batches(items, chance):
            whole, beginnings = self._read([text for text, _, _ in batch], chance)
            features += [whole, beginnings]
            row_numbers += [number for _, number, _ in batch] * 2
            weights += [weight for _, _, weight in batch]
            weights += [weight * BEGINNING_WEIGHT for _, _, weight in batch]
            read += len(batch)
            if read >= told * len(items):
                progress(f"Read {read:,} of {len(items):,} texts and changed copies")
                told = read / len(items) + 0.1
        return _Rows(torch.cat(features), torch.tensor(row_numbers), torch.tensor(weights))

    def _read(self, texts: Sequence[str], chance: Random) -> "list[torch.Tensor]":
        """Return features of the texts, and of a beginning of each, [texts, features] both."""
        import torch

        from ivme.models.frozen_lm import features

        encoded = _encode(self.tokenizer, texts, padding=True, return_tensors="pt")
        encoded = encoded.to(self.model.device)
        mask = encoded["attention_mask"]
        lengths = [max(LEAST_TOKENS, int(n * chance.random())) for n in mask.sum(dim=1).tolist()]
        place = torch.arange(mask.shape[1], device=mask.device)
        is_early = place < torch.tensor(lengths, device=mask.device)[:, None]
        with torch.inference_mode():
            reading = self.model.read(encoded["input_ids"])
        return [features(reading, part).float().cpu() for part in (mask, mask * is_early)]


def _batches(items: Sequence[Item], chance: Random) -> list[list[Item]]:
    """Return items of like length together, the batches in random order."""
    ordered = sorted(items, key=lambda item: len(item[0]))
    batches = [ordered[at : at + READ_AT_ONCE] for at in range(0, len(ordered), READ_AT_ONCE)]
    chance.shuffle(batches)
    return batches


def _fit_head(model: "FrozenLMForSequenceClassification", rows: _Rows) -> None:
    """Train small networks on the rows, and make the model's the mean of them."""
    import torch

    from ivme.models.frozen_lm import FIGURES

    whole = rows.features[rows.weights == WHOLE_WEIGHT]  # as most texts to judge will be
    model.center.copy_(whole.mean(dim=0))
    model.rate.copy_(1 / whole.std(dim=0).clamp(min=LEAST_DEVIATION))
    model.rate[:FIGURES] *= FIGURES_WEIGHT
    inputs = model.scaled(rows.features)
    fitted = [_fit_network(inputs, rows, model.config.num_labels) for _ in range(NETWORKS)]
    # Side by side they are one network, and what it says is their mean.
    model.score.load_state_dict(
        {
            "0.weight": torch.cat([one.weight for one, _ in fitted]),
            "0.bias": torch.cat([one.bias for one, _ in fitted]),
            "2.weight": torch.cat([one.weight for _, one in fitted], dim=1) / NETWORKS,
            "2.bias": torch.stack([one.bias for _, one in fitted]).mean(dim=0),
        }
    )


def _fit_network(
    inputs: "torch.Tensor", rows: _Rows, label_count: int
) -> "tuple[nn.Linear, nn.Linear]":
    """Return the two layers of a network trained on inputs [rows, features]."""
    import torch
    from torch import nn

    first, last = nn.Linear(inputs.shape[1], WIDTH), nn.Linear(WIDTH, label_count)
    network = nn.Sequential(
        nn.Dropout(FEATURE_DROPOUT), first, nn.GELU(), nn.Dropout(HEAD_DROPOUT), last
    )
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - epoch / EPOCHS)
        for batch in torch.randperm(len(inputs)).split(BATCH_SIZE):
            losses = nn.functional.cross_entropy(
                network(inputs[batch]), rows.numbers[batch], reduction="none"
            )
            optimizer.zero_grad(set_to_none=True)
            (losses * rows.weights[batch]).mean().backward()
            optimizer.step()
    return first, last
