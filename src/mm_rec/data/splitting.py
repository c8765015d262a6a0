"""Which text is for training and which for validation; knows nothing of tokens."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from mm_rec.data.documents import DocumentSource
from mm_rec.data.text_formats import ReadingCounts
from mm_rec.errors import DataError

SIDES = ("train", "validation")
VALIDATION_RULES = ("documents", "tail")
MIN_DOCUMENTS = 100  # with fewer, a share of whole documents is too rough


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a source holds, and what was mended or left out while reading it."""

    documents: int
    characters: int
    empty_documents: int
    replaced_characters: int


@dataclass(frozen=True, kw_only=True)
class Split:
    """How train and validation are told apart.

    Attributes:
        rule: "documents" or "tail".
        share: For "documents": the probability that a document is for validation.
        cut: For "tail": validation begins at this character of all text.
    """

    rule: str
    share: float
    cut: int

    @classmethod
    def choose(cls, contents: Contents, share: float, rule: str | None) -> "Split":
        """Return the split by `rule`; None: by documents if there are enough of them."""
        if rule is None:
            rule = "documents" if contents.documents >= MIN_DOCUMENTS else "tail"
        return cls(rule=rule, share=share, cut=int(contents.characters * (1 - share)))


@dataclass(frozen=True, kw_only=True)
class Part:
    """Text of one document that is for one side."""

    text: str
    side: str
    begins_document: bool


def scan(source: DocumentSource) -> Contents:
    """Return what a source holds, from reading it once.

    Raises DataError if it holds no text, or cannot be read.
    """
    counts, characters = ReadingCounts(), 0
    for document in source.read(counts):
        characters += len(document.text)
    if not characters:
        raise DataError(
            f"there is no text: {counts.empty_documents} documents, all empty; expected some."
        )
    return Contents(characters=characters, **vars(counts))


def split_parts(source: DocumentSource, split: Split) -> Iterator[Part]:
    """Yield all text of a source in order, each part with its side."""
    position, begins, side = 0, True, ""
    for document in source.read(ReadingCounts()):
        text = document.text
        if split.rule == "documents":
            side = _side_of(text, split.share) if begins else side
            yield Part(text=text, side=side, begins_document=begins)
        else:
            kept = min(max(0, split.cut - position), len(text))
            for piece, its_side in zip((text[:kept], text[kept:]), SIDES, strict=True):
                if piece:
                    yield Part(text=piece, side=its_side, begins_document=begins)
                    begins = False
        position += len(text)
        begins = not document.is_continued


def _side_of(text: str, share: float) -> str:
    """Return the side of the document that begins with `text`; equal ones have the same."""
    digest = hashlib.sha256(text.encode()).digest()
    return "validation" if int.from_bytes(digest[:8], "big") < share * 2**64 else "train"
