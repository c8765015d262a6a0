"""Synthetic workloads: texts of corpus words that come to an exact number of tokens; masks."""

import random
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from ivme.errors import WorkloadError
from ivme.models.corpus import corpus_text
from ivme.models.quiet import quiet_libraries
from ivme.models.workloads import Workload

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CORPUS_BYTES = 1_000_000  # enough words that texts do not repeat
MAX_TOKENS = 100_000  # fewer than the words at hand; many tokenizers name no limit
FILLERS = ("the", "of", "and", "to", "in", "is", "it", "a")  # one token each in most vocabularies
MASK_WITHIN = 8  # words: early enough to survive truncation


def synthetic_workload(
    tokenizer: "PreTrainedTokenizerBase",
    *,
    tokens: int,
    count: int,
    seed: int = 0,
    with_mask: bool = False,
) -> Workload:
    """Return `count` different texts that each come to exactly `tokens` tokens.

    tokens: special tokens included; with_mask: put one mask token into each text.

    Raises:
        WorkloadError: `tokens` is out of the model's range, or the tokenizer cannot meet it.
    """
    if count < 1:
        raise WorkloadError(f"count={count}; expected 1 or more texts")
    specials = tokenizer.num_special_tokens_to_add()
    least = specials + 1 + with_mask
    most = min(tokenizer.model_max_length, MAX_TOKENS)
    if not least <= tokens <= most:
        raise WorkloadError(
            f"tokens={tokens}; expected {least} to {most}, special tokens of the model included"
        )
    draw = random.Random(f"{seed}-{tokens}")
    with quiet_libraries():
        texts = tuple(_text_of(tokenizer, tokens, draw, with_mask) for _ in range(count))
    return Workload(name=f"{tokens}-tokens", texts=texts)


def put_mask_in(texts: Sequence[str], mask_token: str) -> tuple[str, ...]:
    """Return the texts with one word of each replaced by the mask, near the start.

    A text that has a mask already is left as it is.
    """
    return tuple(text if mask_token in text else _masked(text, mask_token) for text in texts)


def _masked(text: str, mask_token: str) -> str:
    words = list(re.finditer(r"\S+", text))[:MASK_WITHIN]
    if not words:
        return mask_token
    word = words[len(words) // 2]
    return text[: word.start()] + mask_token + text[word.end() :]


def _text_of(
    tokenizer: "PreTrainedTokenizerBase", tokens: int, draw: random.Random, with_mask: bool
) -> str:
    """Return a text of exactly `tokens` tokens: running words, then fillers of one token."""
    words = _corpus_words()
    start = draw.randrange(len(words) - tokens)
    chosen = list(words[start : start + tokens])  # a word is one token at least
    if with_mask:
        chosen[min(1, len(chosen) - 1)] = tokenizer.mask_token
    kept = _longest_prefix(tokenizer, chosen, tokens)
    text = " ".join(chosen[:kept])
    while (missing := tokens - _count(tokenizer, text)) > 0:
        text = _extended(tokenizer, text, missing)
    return text


def _longest_prefix(tokenizer: "PreTrainedTokenizerBase", words: Sequence[str], tokens: int) -> int:
    """Return how many of the words fit into `tokens` tokens, by bisection."""
    fits, too_many = 0, len(words) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if _count(tokenizer, " ".join(words[:middle])) <= tokens:
            fits = middle
        else:
            too_many = middle
    return fits


def _extended(tokenizer: "PreTrainedTokenizerBase", text: str, missing: int) -> str:
    """Return the text with one more word or letter, nearer to its number of tokens."""
    now = _count(tokenizer, text)
    words = [f"{text} {filler}".strip() for filler in FILLERS]
    for longer in [*words, text + "s"]:  # a letter: where every byte is a token
        if 0 < _count(tokenizer, longer) - now <= missing:
            return longer
    raise WorkloadError(
        f"this tokenizer makes no text of exactly {now + missing} tokens out of English words; "
        "give texts of your own"
    )


def _count(tokenizer: "PreTrainedTokenizerBase", text: str) -> int:
    return len(tokenizer(text, return_attention_mask=False)["input_ids"])


@lru_cache(maxsize=1)
def _corpus_words() -> tuple[str, ...]:
    """Return the words of the corpus in running order."""
    return tuple(re.findall(r"[A-Za-z]+", corpus_text(CORPUS_BYTES)))
