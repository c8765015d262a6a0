"""Reading texts with a tokenizer's file alone, for engines that run without PyTorch.

Importing Transformers imports PyTorch, which takes seconds; the tokenizers library takes none. A
folder's tokenizer.json holds all that most tokenizers do, and choose_tokenizer makes sure.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

PROBES = (  # texts on which both ways must agree
    "",
    "A plain sentence, with punctuation!",
    "  Two  spaces\tand a tab.\nAnd a second line. ",
    "ALL CAPS, CamelCase, snake_case, 3.14 and 1e-5",
    "İstanbul'da çay içtik; naïve café, Größe",
    "日本語と中文 🎉🏽 \u200b\u0301",
    "<s> [MASK] </s> <|endoftext|> <mask>",
    "word " * 40,
)


class TokenizerFile:
    """The part of a Transformers tokenizer that sessions use, read from its folder.

    Safe to share between threads. Texts that were counted are remembered until others are, so that
    running them after sorting them by length reads each only once.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._cut_to: int | None = None
        self._counted: dict[str, Any] = {}  # text -> encoding, cut to _counted_to
        self._counted_to: int | None = None
        self._lock = Lock()  # the library's limits belong to the tokenizer, not to a call
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        self.model_input_names: list[str] = settings.get(
            "model_input_names", ["input_ids", "token_type_ids", "attention_mask"]
        )
        self.padding_side: str = settings.get("padding_side", "right")  # may be set
        self.truncation_side: str = settings.get("truncation_side", "right")
        for name in ("pad_token", "mask_token"):
            setattr(self, name, _content(settings.get(name)))
        self.pad_token_id = self._number_of(self.pad_token)
        self.mask_token_id = self._number_of(self.mask_token)

    pad_token: str | None
    mask_token: str | None

    def __call__(
        self,
        texts: Sequence[str],
        *,
        truncation: bool = False,
        max_length: int | None = None,
        padding: str | bool = False,
        return_tensors: str | None = None,
        return_attention_mask: bool = True,
    ) -> dict[str, Any]:
        """Return each input's rows, one a text: lists, or int64 arrays [B, T] for "np".

        padding: "longest" or "max_length"; without it rows have the lengths that they have.
        """
        encodings = self._encode(texts, max_length if truncation else None, keep=not padding)
        rows = {"input_ids": [encoding.ids for encoding in encodings]}
        if "token_type_ids" in self.model_input_names:
            rows["token_type_ids"] = [encoding.type_ids for encoding in encodings]
        if return_attention_mask and "attention_mask" in self.model_input_names:
            rows["attention_mask"] = [[1] * len(encoding.ids) for encoding in encodings]
        if return_tensors is None:
            return rows
        assert return_tensors == "np"
        assert padding
        longest = max(len(encoding.ids) for encoding in encodings)
        length = max_length if padding == "max_length" and max_length else longest
        fill = {"input_ids": self.pad_token_id}
        return {name: self._padded(part, length, fill.get(name)) for name, part in rows.items()}

    def batch_decode(
        self, rows: "Iterable[Iterable[int]]", skip_special_tokens: bool = False
    ) -> list[str]:
        """Return the text of each row of token ids."""
        ids = [[int(number) for number in row] for row in rows]
        texts: list[str] = self._tokenizer.decode_batch(ids, skip_special_tokens)
        return texts

    def num_special_tokens_to_add(self) -> int:
        """Return the tokens that a text gets around its own."""
        count: int = self._tokenizer.num_special_tokens_to_add(False)
        return count

    def _encode(self, texts: Sequence[str], cut_to: int | None, *, keep: bool) -> list[Any]:
        """Return the encoding of each text; keep: remember them for the calls to come."""
        with self._lock:
            known = self._counted if cut_to == self._counted_to else {}
            missing = [text for text in dict.fromkeys(texts) if text not in known]
            found = {**known, **dict(zip(missing, self._read(missing, cut_to), strict=True))}
            if keep:
                self._counted = {text: found[text] for text in texts}
                self._counted_to = cut_to
        return [found[text] for text in texts]

    def _read(self, texts: list[str], cut_to: int | None) -> list[Any]:
        if cut_to != self._cut_to:
            if cut_to is None:
                self._tokenizer.no_truncation()
            else:
                self._tokenizer.enable_truncation(cut_to, direction=self.truncation_side)
            self._cut_to = cut_to
        encodings: list[Any] = self._tokenizer.encode_batch(texts) if texts else []
        return encodings

    def _padded(self, rows: list[list[int]], length: int, fill: int | None) -> "np.ndarray":
        import numpy as np

        array = np.full((len(rows), length), fill or 0, dtype=np.int64)
        for at, row in enumerate(rows):
            if self.padding_side == "left":
                array[at, length - len(row) :] = row
            else:
                array[at, : len(row)] = row
        return array

    def _number_of(self, token: str | None) -> int | None:
        number: int | None = None if token is None else self._tokenizer.token_to_id(token)
        return number


def choose_tokenizer(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return "file" if the tokenizer saved in the folder, read alone, does as Transformers does.

    Otherwise return "transformers". Compared are ids, masks, cutting, padding and decoding, on
    PROBES.
    """
    if not (folder / "tokenizer.json").is_file():
        return "transformers"
    alone = TokenizerFile(folder)
    alone.padding_side = tokenizer.padding_side
    special = ("pad_token_id", "mask_token_id")
    if any(getattr(alone, name) != getattr(tokenizer, name) for name in special):
        return "transformers"
    probes = [text for text in PROBES if text or alone.num_special_tokens_to_add()]
    for limits in (
        {"padding": "longest"},
        {"padding": "max_length", "truncation": True, "max_length": 12},
    ):
        expected = tokenizer(probes, return_tensors="np", **limits)
        found = alone(probes, return_tensors="np", **limits)
        if set(found) != set(expected) or any(
            found[name].tolist() != expected[name].tolist() for name in found
        ):
            return "transformers"
    ids = tokenizer(probes)["input_ids"]
    for skip in (False, True):
        if alone.batch_decode(ids, skip) != tokenizer.batch_decode(ids, skip_special_tokens=skip):
            return "transformers"
    return "file"


def _content(token: Any) -> str | None:
    """Return a special token's text, which some files wrap in an object."""
    text: str | None = token["content"] if isinstance(token, dict) else token
    return text
