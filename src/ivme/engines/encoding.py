"""Texts to token ids, the same way in every engine: truncation, padding, and their limits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivme.engines.array_encoding import array_encoder
from ivme.engines.buckets import pad_to_bucket, round_up
from ivme.engines.protocol import EngineOptions
from ivme.errors import UsageError, WorkloadError

if TYPE_CHECKING:
    import numpy as np
    from transformers import BatchEncoding

    from ivme.models.interface import TextModel


@dataclass(frozen=True, kw_only=True)
class TokenLimits:
    """How many tokens a text may have and is padded to; None: as many as it has."""

    max_length: int | None
    pad_to: int | None
    buckets: tuple[int, ...] = ()  # a batch is padded to the smallest that holds it
    rounds_up: bool = False  # batches that neither says anything of are padded to a few lengths

    @property
    def cut_to(self) -> int | None:
        """The tokens that are left of a longer text; None: all."""
        return self.pad_to or self.max_length

    def padded(self, length: int) -> int:
        """Return the tokens that a batch is padded to if its longest text has `length`."""
        if self.pad_to is not None:
            return self.pad_to
        padded = pad_to_bucket(length, self.buckets)
        if not self.rounds_up or padded > length or length in self.buckets:
            return padded
        return max(length, min(round_up(length), self.max_length or round_up(length)))

    def tokenizer_arguments(self) -> dict[str, Any]:
        """Return the arguments that make a Transformers tokenizer keep to the limits."""
        return {
            "truncation": self.cut_to is not None,
            "max_length": self.cut_to,
            "padding": "max_length" if self.pad_to else "longest",
        }


def token_limits(model: "TextModel", options: EngineOptions) -> TokenLimits:
    """Return the limits that the options ask for, checked against what the model takes.

    A causal model's limit leaves room for the tokens it is to generate. Padding to fewer tokens
    than a text may have cuts longer texts to it.

    Raises:
        UsageError: the options go beyond the model's limit.
    """
    limit = model.max_length
    if limit is not None and model.kind == "causal":
        limit -= options.new_tokens
        if limit < 1:
            raise UsageError(
                f"new_tokens={options.new_tokens} leaves no room for a text: {model.reference!r} "
                f"takes {model.max_length} tokens, generated ones included"
            )
    for name in ("max_length", "pad_to"):
        value = getattr(options, name)
        if value is not None and not 1 <= value <= (limit or value):
            raise UsageError(
                f"{name}={value}; expected 1 to {limit} tokens, the limit of {model.reference!r}"
                + (f" less {options.new_tokens} new ones" if model.kind == "causal" else "")
            )
    max_length = options.max_length or limit
    if options.pad_to and max_length:
        max_length = min(max_length, options.pad_to)
    return TokenLimits(max_length=max_length, pad_to=options.pad_to, buckets=options.buckets)


def encode(model: "TextModel", texts: Sequence[str], limits: TokenLimits) -> "BatchEncoding":
    """Return the texts as one padded batch of tensors on the CPU.

    Raises:
        WorkloadError: an empty text gives the model no token at all.
    """
    refuse_empty(model, texts)
    encoded = model.tokenizer(list(texts), return_tensors="pt", **limits.tokenizer_arguments())
    missing = _missing_columns(encoded["input_ids"].shape[1], limits)
    if missing:
        from torch.nn.functional import pad

        for name, fill in _fills(model, encoded).items():
            encoded[name] = pad(encoded[name], _on_side(model, missing), value=fill)
    return encoded


def encode_arrays(
    model: "TextModel", texts: Sequence[str], limits: TokenLimits
) -> "dict[str, np.ndarray]":
    """Return the texts as one padded batch of arrays, int64, for engines without PyTorch.

    Raises:
        WorkloadError: an empty text gives the model no token at all.
    """
    refuse_empty(model, texts)
    encoder = array_encoder(model.tokenizer, limits.cut_to)
    if encoder is not None:
        return encoder.arrays(texts, limits.padded)
    encoded = model.tokenizer(list(texts), return_tensors="np", **limits.tokenizer_arguments())
    missing = _missing_columns(encoded["input_ids"].shape[1], limits)
    if missing:
        import numpy as np

        for name, fill in _fills(model, encoded).items():
            widths = ((0, 0), _on_side(model, missing))
            encoded[name] = np.pad(encoded[name], widths, constant_values=fill)
    return {name: array.astype("int64", copy=False) for name, array in encoded.items()}


def refuse_empty(model: "TextModel", texts: Sequence[str]) -> None:
    """Raise WorkloadError if an empty text would give the model no token at all."""
    if not all(texts) and model.tokenizer.num_special_tokens_to_add() == 0:
        raise WorkloadError(
            f"an empty text gives {model.reference} no token to start from; leave empty texts out"
        )


def count_tokens(model: "TextModel", texts: Sequence[str], limits: TokenLimits) -> list[int]:
    """Return the tokens of each text, special ones included, after truncation."""
    encoder = array_encoder(model.tokenizer, limits.max_length)
    if encoder is not None:
        return encoder.lengths(texts)
    encoded = model.tokenizer(
        list(texts),
        truncation=limits.max_length is not None,
        max_length=limits.max_length,
        return_attention_mask=False,
    )
    return [len(tokens) for tokens in encoded["input_ids"]]


def _missing_columns(length: int, limits: TokenLimits) -> int:
    """Return the columns that a batch lacks to fill its bucket."""
    return limits.padded(length) - length


def _fills(model: "TextModel", names: Iterable[str]) -> dict[str, int]:
    """Return what padding is filled with in each of a model's inputs."""
    return {name: model.tokenizer.pad_token_id if name == "input_ids" else 0 for name in names}


def _on_side(model: "TextModel", columns: int) -> tuple[int, int]:
    return (columns, 0) if model.tokenizer.padding_side == "left" else (0, columns)
