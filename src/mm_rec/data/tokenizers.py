"""Tokenizers: trained on the data, bytes, characters, or any folder that Transformers can load.

All are saved in Transformers' own format, so that `AutoTokenizer` loads them too. Text is only
ever text: a special token spelled out in a document is encoded letter by letter.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_rec.errors import ConfigError

if TYPE_CHECKING:
    import tokenizers
    from transformers import PreTrainedTokenizerBase

KINDS = ("bpe", "bytes", "characters")
END = "<|endoftext|>"
UNKNOWN = "<|unknown|>"
BYTES_VOCABULARY = 257  # every byte, and END
CODE_POINTS = 0x110000

Encode = Callable[[str], np.ndarray]


class Tokenizer:
    """Text to token ids and back.

    Attributes:
        vocab_size: Ids are below it.
        end_id: Stands between two documents.
        unknown_id: Stands for what the vocabulary lacks; None: it lacks nothing.
        fingerprint: The same for tokenizers that encode alike; saving and loading keep it.
    """

    def __init__(self, wrapped: "PreTrainedTokenizerBase", end_id: int) -> None:
        self._wrapped: Any = wrapped
        self._fast = _plain_backend(wrapped)
        self._direct = _direct_encoding(wrapped)
        self.end_id = end_id
        unknown_id = self._wrapped.unk_token_id
        self.unknown_id: int | None = None if unknown_id == end_id else unknown_id
        self.vocab_size = max(len(wrapped), max(wrapped.get_vocab().values()) + 1)
        self.fingerprint = self._digest()

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without any special token."""
        ids: list[int] = self.encode_batch([text])[0].tolist()
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of several texts, one array each; threads share the work."""
        if self._direct is not None:
            return [self._direct(text) for text in texts]
        if self._fast is not None:
            encoded = self._fast.encode_batch_fast(list(texts), add_special_tokens=False)
            return [np.asarray(encoding.ids, dtype=np.int64) for encoding in encoded]
        ids = self._wrapped(
            list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        return [np.asarray(row, dtype=np.int64) for row in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; special tokens are left out."""
        text: str = self._wrapped.decode(
            [int(i) for i in ids], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def save(self, folder: Path | str) -> None:
        """Write the tokenizer into a folder, from which `AutoTokenizer` loads it as well."""
        self._wrapped.save_pretrained(str(folder))

    def _digest(self) -> str:
        """Return the SHA-256 of everything that decides how text is encoded."""
        if self._fast is not None:
            content = self._fast.to_str()
        else:  # implemented in Python: its class and vocabulary stand for it
            vocabulary = sorted(self._wrapped.get_vocab().items())
            content = json.dumps([type(self._wrapped).__name__, vocabulary])
        return hashlib.sha256(f"{self.end_id} {content}".encode()).hexdigest()


def train_tokenizer(kind: str, texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Return a tokenizer of `kind`, trained on texts that are read once; the same texts, the same.

    Args:
        kind: "bpe", byte-level byte-pair encoding; "bytes", which needs no texts; "characters",
            whose rarest are unknown if there are more of them than `vocab_size` allows.
        texts: What to train on.
        vocab_size: The most tokens to have, special ones counted.

    Raises:
        ConfigError: For an unknown kind, or a vocabulary too small for it.
    """
    if kind not in KINDS:
        raise ConfigError(f"tokenizer={kind!r}; expected one of {', '.join(KINDS)}, or a folder.")
    least = 3 if kind == "characters" else BYTES_VOCABULARY
    if vocab_size < least:
        raise ConfigError(f"vocab_size={vocab_size}; {kind!r} needs at least {least}.")
    if kind == "bytes":
        return _wrap(_byte_pairs(merges=[]), kind)
    if kind == "characters":
        return _wrap(_characters(texts, vocab_size), kind, unk_token=UNKNOWN)
    return _wrap(_train_byte_pairs(texts, vocab_size), kind)


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """Return the tokenizer in a folder: one of ours, or any that Transformers can load.

    Nothing is downloaded, and no code that comes with it is run.

    Raises:
        ConfigError: If there is none, or it has no token to put between documents.
    """
    from transformers import AutoTokenizer

    if not Path(folder).is_dir():
        raise ConfigError(f"tokenizer folder {folder} does not exist; expected a saved tokenizer.")
    try:
        wrapped = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ConfigError(f"no tokenizer could be loaded from {folder}: {reason}") from error
    for end_id in (wrapped.eos_token_id, wrapped.sep_token_id):
        if end_id is not None:
            return Tokenizer(wrapped, end_id)
    raise ConfigError(
        f"the tokenizer in {folder} has neither an end (eos) nor a separator (sep) token; "
        "name one of them in its tokenizer_config.json."
    )


def _wrap(backend: "tokenizers.Tokenizer", kind: str, **special: str) -> Tokenizer:
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        mm_rec_kind=kind,
        **special,
    )
    return Tokenizer(wrapped, wrapped.eos_token_id)


def _train_byte_pairs(texts: Iterable[str], vocab_size: int) -> "tokenizers.Tokenizer":
    from tokenizers import trainers

    backend = _byte_pairs(merges=None)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        initial_alphabet=_byte_letters(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_special_tokens([END])
    return backend


def _byte_pairs(merges: list | None) -> "tokenizers.Tokenizer":
    """Return a byte-level tokenizer: without merges if they are [], to be trained if None."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    if merges is None:
        backend = Backend(models.BPE())
    else:
        letters = {letter: byte for byte, letter in enumerate(_byte_letters())}
        backend = Backend(models.BPE(vocab=letters, merges=merges))
        backend.add_special_tokens([END])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _byte_letters() -> list[str]:
    """Return the printable letter that byte-level tokenizers write for each byte, in order.

    Printable bytes are their own letter; the others take the letters from 256 up, in order.
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in own else chr(next(others)) for byte in range(256)]


def _characters(texts: Iterable[str], vocab_size: int) -> "tokenizers.Tokenizer":
    from tokenizers import Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    by_frequency = sorted(counts, key=lambda letter: (-counts[letter], letter))
    letters = sorted(by_frequency[: vocab_size - 2])
    numbered = {letter: number for number, letter in enumerate([*letters, END, UNKNOWN])}
    backend = Backend(models.WordLevel(numbered, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([END, UNKNOWN])
    return backend


def _plain_backend(wrapped: "PreTrainedTokenizerBase") -> "tokenizers.Tokenizer | None":
    """Return the compiled tokenizer inside, told to cut and pad nothing; None: it is in Python."""
    backend = getattr(wrapped, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
    return backend


def _direct_encoding(wrapped: "PreTrainedTokenizerBase") -> Encode | None:
    """Return a table look-up that encodes bytes or characters; None for other tokenizers.

    It is worth the trouble: the general way keeps a record of every single token.
    """
    kind = wrapped.init_kwargs.get("mm_rec_kind")
    if kind == "bytes":
        return lambda text: np.frombuffer(text.encode(), dtype=np.uint8)
    if kind != "characters":
        return None
    table = np.full(CODE_POINTS, wrapped.unk_token_id, dtype=np.int32)
    for letter, number in wrapped.get_vocab().items():
        if len(letter) == 1:
            table[ord(letter)] = number
    return lambda text: table[np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)]
