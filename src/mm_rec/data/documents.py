"""Documents: text from files of any size, piece by piece, in an order that does not change.

Owns what counts as a document: a .txt file is one, a line of a .jsonl file is one, a row of a .csv
file is one. Never holds more than one piece, line or row in memory. What is mended or left out is
counted; what cannot be read is an error that names the file and the line.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mm_rec.data.text_formats import READERS, ReadingCounts
from mm_rec.errors import DataError

PIECE_CHARACTERS = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document, or a piece of a long one.

    Attributes:
        text: Never empty.
        source: Where it comes from, for messages: a file, and the line in it.
        is_continued: The next one is the same document's next piece.
    """

    text: str
    source: str
    is_continued: bool = False


class DocumentSource(Protocol):
    """Documents that can be read several times, always the same ones."""

    @property
    def identity(self) -> str:
        """A digest that changes when the documents may have changed."""

    def read(self, counts: ReadingCounts) -> Iterator[Document]:
        """Yield the documents, and count them."""


@dataclass(frozen=True, kw_only=True)
class TextFiles:
    """A .txt, .jsonl or .csv file, or a folder of them and their folders.

    path: the file or folder; text_field: the key or column that holds the text in .jsonl and .csv.
    """

    path: Path
    text_field: str = "text"

    @property
    def identity(self) -> str:
        """A digest of names, sizes and times of change; no file is read for it."""
        digest = hashlib.sha256(f"{self.text_field}\n".encode())
        for path in self.files():
            status = path.stat()
            name = path.relative_to(self.path).as_posix()
            digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def files(self) -> list[Path]:
        """Return the files, sorted by path; hidden ones and those of other kinds are left out.

        Raises DataError if there are none.
        """
        if self.path.is_dir():
            found = [path for path in self.path.rglob("*") if self._is_text(path)]
            if not found:
                raise DataError(
                    f"{self.path} holds no text; expected files ending in {', '.join(READERS)}."
                )
            return sorted(found, key=lambda path: path.relative_to(self.path).as_posix())
        if not self.path.is_file():
            raise DataError(f"{self.path} does not exist; expected a file or folder of texts.")
        if self.path.suffix.lower() not in READERS:
            raise DataError(
                f"{self.path} is of an unknown kind; expected a file ending in "
                f"{', '.join(READERS)}, or a folder of them."
            )
        return [self.path]

    def read(self, counts: ReadingCounts) -> Iterator[Document]:
        """Yield the documents of all files in order.

        Raises DataError for a file that cannot be read, or that changes meanwhile.
        """
        for path in self.files():
            yield from _read_file(path, self.text_field, counts)

    def _is_text(self, path: Path) -> bool:
        names = path.relative_to(self.path).parts
        is_hidden = any(name.startswith(".") for name in names)
        return not is_hidden and path.suffix.lower() in READERS and path.is_file()


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts at hand, such as the built-in corpus: an iterable that can be gone through again."""

    texts: Iterable[str] = field(repr=False)
    name: str = "texts"

    @property
    def identity(self) -> str:
        """A digest of every text."""
        digest = hashlib.sha256()
        for text in self.texts:
            data = text.encode()
            digest.update(f"{len(data)}\n".encode())
            digest.update(data)
        return digest.hexdigest()

    def read(self, counts: ReadingCounts) -> Iterator[Document]:
        """Yield every text that is not empty."""
        for number, text in enumerate(self.texts):
            yield from _pieces(iter([text]), f"{self.name}, number {number}", counts)


def document_source(source: "Path | str | Iterable[str] | DocumentSource") -> DocumentSource:
    """Return the source that a path, texts, or a source already made stands for."""
    if isinstance(source, TextFiles | Texts):
        return source
    if isinstance(source, str | os.PathLike):
        return TextFiles(path=Path(source))
    if isinstance(source, Iterator):
        raise DataError("texts can be read once only; expected a list, or a path.")
    if isinstance(source, Iterable):
        return Texts(texts=source)
    return source


def _read_file(path: Path, text_field: str, counts: ReadingCounts) -> Iterator[Document]:
    read = READERS[path.suffix.lower()]
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            for chunks, place in read(file, path, text_field, counts):
                yield from _pieces(chunks, place, counts)
            _check_unchanged(path, file.tell(), before)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _check_unchanged(path: Path, read_bytes: int, before: os.stat_result) -> None:
    """Refuse a file that shrank, grew or was written to while it was read."""
    after = path.stat()
    if read_bytes != before.st_size or (after.st_size, after.st_mtime_ns) != (
        before.st_size,
        before.st_mtime_ns,
    ):
        raise DataError(
            f"{path} changed while it was read ({before.st_size} bytes at first, {read_bytes} "
            f"read, {after.st_size} now); wait until it is complete, then prepare again."
        )


def _pieces(chunks: Iterator[str], place: str, counts: ReadingCounts) -> Iterator[Document]:
    """Yield one document, whose text comes in chunks, in pieces of at most PIECE_CHARACTERS."""
    rest, is_empty = "", True
    for chunk in chunks:
        rest += chunk
        while len(rest) > PIECE_CHARACTERS:
            cut = _cut(rest)
            is_empty = False
            yield Document(text=rest[:cut], source=place, is_continued=True)
            rest = rest[cut:]
    if rest:  # of a long document there is always a rest: a piece ends before the last character
        yield Document(text=rest, source=place)
        is_empty = False
    counts.documents += not is_empty
    counts.empty_documents += is_empty


def _cut(text: str) -> int:
    """Return where to cut: behind a line if there is one, else before a word, else anywhere."""
    half = PIECE_CHARACTERS // 2
    for separator, is_kept in (("\n", True), (" ", False)):
        found = text.rfind(separator, half, PIECE_CHARACTERS)
        if found >= 0:
            return found + is_kept
    return PIECE_CHARACTERS
