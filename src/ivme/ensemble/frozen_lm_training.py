"""Training of the member on a language model that stays as it is.

Each text goes through the language model once, since nothing in it changes; then a small network
learns from what was read, in seconds. A beginning of a text costs nothing more, as no token depends
on what follows it: so the member learns short texts too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from ivme.ensemble.augmentation import disguised
from ivme.ensemble.groups import CHARACTERS_PER_TOKEN, readable_text
from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.ensemble.training_place import Autocast, torch_as_it_was, training_device
from ivme.errors import UsageError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from ivme.models.frozen_lm import FrozenLMForSequenceClassification

LAYERS = 5  # whose hidden states are read, evenly spread, the last one among them
READ_AT_ONCE = 2  # texts; more fall out of the cache
LEAST_TOKENS = 40  # in a beginning
LEAST_DEVIATION = 0.01  # of a feature, below which it is rounding that differs
FIGURES_WEIGHT = 2.0  # of a figure beside a hidden state's mean: there are fewer of them
EPOCHS, BATCH_SIZE = 15, 64
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.1
FEATURE_DROPOUT, HEAD_DROPOUT = 0.5, 0.3  # thousands of features for thousands of texts


@dataclass(frozen=True, kw_only=True)
class FrozenLMSettings:
    """How the member is trained.

    base: a causal language model's folder, preset or hub id. max_length: tokens of a text.
    changed_share: of the texts that are read misspelled, without marks and the like, instead of as
    they are. device: None: the fastest that is there.
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
        model, tokenizer = make_frozen_lm(settings, labels)
        progress(f"Training {name}: {settings.base} reads {len(data):,} texts on {device}...")
        reader = _Reader(model.to(device), tokenizer, settings, autocast)
        rows, numbers = reader.features_of(data.texts, data.numbers(labels).tolist(), progress)
        _fit_head(model.to("cpu"), rows, numbers)
        model.eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        with torch.inference_mode():
            found = model.score(model.scaled(rows)).argmax(dim=1)
    accuracy = float((found == numbers).float().mean())
    progress(f"Training {name}: {len(rows):,} texts and beginnings, {accuracy:.1%} of them right")
    return {
        "settings": asdict(settings),
        "device": device,
        "autocast": None if autocast is None else "bfloat16",
        "texts": len(data),
        "rows": len(rows),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "train_accuracy": accuracy,
    }


def make_frozen_lm(
    settings: FrozenLMSettings, labels: Sequence[str]
) -> "tuple[FrozenLMForSequenceClassification, PreTrainedTokenizerBase]":
    """Return the member with a network that has learned nothing yet, and its tokenizer.

    Raises:
        ModelNotFoundError: there is no such base.
        UsageError: the base is no causal language model, or its tokenizer marks no start or end.
    """
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
    last = base.model.config.num_hidden_layers
    config = FrozenLMConfig(
        language_model=base.model.config.to_diff_dict()
        | {"model_type": base.model.config.model_type},
        start_token_id=start,
        pad_token_id=tokenizer.pad_token_id,
        layers=sorted({round(last * part / LAYERS) for part in range(1, LAYERS + 1)}),
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        problem_type="single_label_classification",
    )
    model = FrozenLMForSequenceClassification(config)
    model.language_model.load_state_dict(base.model.state_dict())
    limits = (settings.max_length, base.max_length and base.max_length - 1)
    tokenizer.model_max_length = min(limit for limit in limits if limit)
    tokenizer.padding_side = "right"
    return model, tokenizer


@dataclass(frozen=True)
class _Reader:
    """Reads texts, and returns features of each and of a beginning of it."""

    model: "FrozenLMForSequenceClassification"
    tokenizer: "PreTrainedTokenizerBase"
    settings: FrozenLMSettings
    autocast: Autocast | None

    def features_of(
        self, texts: Sequence[str], numbers: Sequence[int], progress: Callable[[str], None]
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return features [rows, features], and the number of each row's label."""
        import torch

        chance = Random(self.settings.seed)
        rows, row_numbers, read = [], [], 0
        told = 0.1
        for positions in _batches(texts, chance):
            for found in self._read([self._changed(texts[at], chance) for at in positions], chance):
                rows.append(found)
                row_numbers += [numbers[at] for at in positions]
            read += len(positions)
            if read >= told * len(texts):
                progress(f"Read {read:,} of {len(texts):,} texts")
                told = read / len(texts) + 0.1
        return torch.cat(rows), torch.tensor(row_numbers)

    def _changed(self, text: str, chance: Random) -> str:
        return disguised(text, chance) if chance.random() < self.settings.changed_share else text

    def _read(self, texts: Sequence[str], chance: Random) -> "Iterator[torch.Tensor]":
        """Yield features of the texts, then of a beginning of each."""
        import torch

        from ivme.models.frozen_lm import features

        limit = self.tokenizer.model_max_length
        encoded = self.tokenizer(
            [readable_text(text, limit * CHARACTERS_PER_TOKEN) for text in texts],
            padding=True,
            truncation=True,
            max_length=limit,
            return_tensors="pt",
        ).to(self.model.device)
        mask = encoded["attention_mask"]
        lengths = [max(LEAST_TOKENS, int(n * chance.random())) for n in mask.sum(dim=1).tolist()]
        place = torch.arange(mask.shape[1], device=mask.device)
        is_early = place < torch.tensor(lengths, device=mask.device)[:, None]
        with torch.inference_mode(), self.autocast() if self.autocast else nullcontext():
            reading = self.model.read(encoded["input_ids"])
        for part in (mask, mask * is_early):
            yield features(reading, part).float().cpu()


def _batches(texts: Sequence[str], chance: Random) -> list[list[int]]:
    """Return positions of texts of like length together, the batches in random order."""
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    batches = [order[at : at + READ_AT_ONCE] for at in range(0, len(order), READ_AT_ONCE)]
    chance.shuffle(batches)
    return batches


def _fit_head(
    model: "FrozenLMForSequenceClassification", rows: "torch.Tensor", numbers: "torch.Tensor"
) -> None:
    """Train the small network on features [rows, features] and labels' numbers [rows]."""
    import torch
    from torch import nn

    from ivme.models.frozen_lm import FIGURES

    model.center.copy_(rows.mean(dim=0))
    model.rate.copy_(1 / rows.std(dim=0).clamp(min=LEAST_DEVIATION))
    model.rate[:FIGURES] *= FIGURES_WEIGHT
    inputs = model.scaled(rows)
    first, activation, last = model.score
    network = nn.Sequential(
        nn.Dropout(FEATURE_DROPOUT), first, activation, nn.Dropout(HEAD_DROPOUT), last
    )
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - epoch / EPOCHS)
        for batch in torch.randperm(len(inputs)).split(BATCH_SIZE):
            loss = nn.functional.cross_entropy(network(inputs[batch]), numbers[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
