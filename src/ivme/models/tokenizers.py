"""Tokenizers trained on the spot on the built-in corpus, shaped as each architecture has them.

The vocabulary is padded with tokens that no text produces up to the size that the architecture
documents, so that a preset has as many parameters as the model it is named after.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

FAMILIES = ("wordpiece", "gpt2", "roberta", "unigram")
WORD_START = "▁"
T5_SENTINELS = 100  # <extra_id_0> .. <extra_id_99>, at the end of T5's vocabulary


def train_tokenizer(
    family: str, vocabulary_size: int, texts: Sequence[str], max_length: int
) -> "PreTrainedTokenizerFast":
    """Return a tokenizer of `family` trained on `texts`; the same texts give the same tokenizer.

    family: one of FAMILIES. "wordpiece" is what BERT and DistilBERT use, "gpt2" and "roberta" are
    byte-level BPE with the special tokens of each, "unigram" is what T5 uses.
    vocabulary_size: tokens, unused ones included; max_length: tokens that the model takes.
    """
    from transformers import PreTrainedTokenizerFast

    train = {
        "wordpiece": _train_wordpiece,
        "gpt2": _train_gpt2,
        "roberta": _train_roberta,
        "unigram": _train_unigram,
    }[family]
    tokenizer, special = train(vocabulary_size, texts)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_length, **special
    )


def _train_wordpiece(size: int, texts: Sequence[str]) -> "tuple[Tokenizer, dict[str, Any]]":
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalizer = normalizers.BertNormalizer(lowercase=True)
    merged = _train_merges(size, texts, special, normalizer, pre_tokenizers.BertPreTokenizer())
    pieces = _wordpieces(_by_identifier(merged)[len(special) :])
    vocabulary = dict.fromkeys(special + pieces)  # once each, in order
    numbered = {piece: number for number, piece in enumerate(list(vocabulary)[:size])}
    tokenizer = Tokenizer(models.WordPiece(numbered, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = _with_unused_tokens(tokenizer, size)
    tokenizer.add_special_tokens(special)
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = _template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
    return tokenizer, {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }


def _train_gpt2(size: int, texts: Sequence[str]) -> "tuple[Tokenizer, dict[str, Any]]":
    tokenizer = _train_byte_level(size - 1, texts, special=[])
    end = "<|endoftext|>"  # the last token of the vocabulary, as in GPT-2
    tokenizer.add_special_tokens([end])
    return tokenizer, {
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _train_roberta(size: int, texts: Sequence[str]) -> "tuple[Tokenizer, dict[str, Any]]":
    from tokenizers import AddedToken

    tokenizer = _train_byte_level(size - 1, texts, special=["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = _template(tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>")
    return tokenizer, {
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _train_byte_level(size: int, texts: Iterable[str], special: list[str]) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = _with_unused_tokens(tokenizer, size)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _train_unigram(size: int, texts: Sequence[str]) -> "tuple[Tokenizer, dict[str, Any]]":
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
    )

    special = ["<pad>", "</s>", "<unk>"]
    normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    merged = _train_merges(
        size - T5_SENTINELS, texts, special, normalizer, pre_tokenizers.WhitespaceSplit()
    )
    pieces = _scored_pieces(merged, texts, special)
    tokenizer = Tokenizer(models.Unigram(pieces, special.index("<unk>")))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = _with_unused_tokens(tokenizer, size - T5_SENTINELS)
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(T5_SENTINELS))]
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in special + sentinels]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = _template(tokenizer, "$A </s>", "$A </s> $B </s>")
    return tokenizer, {
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _train_merges(
    size: int, texts: Iterable[str], special: list[str], normalizer: Any, split: Any
) -> "Tokenizer":
    """Return a BPE tokenizer whose pieces start with WORD_START where a word does.

    WordPiece and Unigram vocabularies are taken from it: the library's own trainers for the two
    go through hash tables in an order that differs from run to run, and this one does not.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.Metaspace(WORD_START, prepend_scheme="always")]
    )
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _by_identifier(tokenizer: "Tokenizer") -> list[str]:
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _wordpieces(merged: Sequence[str]) -> list[str]:
    """Return the pieces as WordPiece writes them: ## where a piece does not start a word.

    Every letter comes first and in both forms, so that no word of known letters is unknown.
    """
    letters = [piece for piece in merged if len(piece) == 1]
    longer = [
        piece[1:] if piece.startswith(WORD_START) else f"##{piece}"
        for piece in merged
        if len(piece) > 1
    ]
    return letters + [f"##{letter}" for letter in letters] + longer


def _scored_pieces(
    merged: "Tokenizer", texts: Sequence[str], special: Sequence[str]
) -> list[tuple[str, float]]:
    """Return every piece with the logarithm of its share of the corpus; special tokens get 0."""
    uses: Counter[int] = Counter()
    for encoding in merged.encode_batch_fast(list(texts), add_special_tokens=False):
        uses.update(encoding.ids)
    total = sum(uses.values())
    pieces = _by_identifier(merged)
    return [
        (piece, 0.0 if piece in special else math.log(max(uses[number], 0.5) / total))
        for number, piece in enumerate(pieces)
    ]


def _with_unused_tokens(tokenizer: "Tokenizer", size: int) -> "Tokenizer":
    """Return the tokenizer with its vocabulary filled up to `size` tokens."""
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    unused = (f"[unused{number}]" for number in range(size - len(vocabulary)))
    if isinstance(vocabulary, dict):
        vocabulary.update({token: number for number, token in enumerate(unused, len(vocabulary))})
    else:  # a list of pairs of piece and log probability
        lowest = min(score for _, score in vocabulary)
        vocabulary.extend([token, 2 * lowest] for token in unused)
    return Tokenizer.from_str(json.dumps(state))


def _template(tokenizer: "Tokenizer", single: str, pair: str) -> Any:
    """Return a post-processor that puts the special tokens of the templates around texts."""
    from tokenizers.processors import TemplateProcessing

    names = {part.split(":")[0] for part in pair.split() if not part.startswith("$")}
    return TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in sorted(names)],
    )
