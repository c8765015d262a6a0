"""Preparation: documents become two token files, train and validation, streamed and resumable.

A first pass counts, which fixes the split; a second one tokenizes. What is safe on the disk is
noted down every SAFE_CHARACTERS, and an interrupted preparation goes on from there.
"""

import fcntl
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mm_rec.data.documents import DocumentSource, document_source
from mm_rec.data.mapped_tokens import TokenFile, TokenWriter, describe_tokens, token_dtype
from mm_rec.data.splitting import SIDES, VALIDATION_RULES, Contents, Part, Split, scan, split_parts
from mm_rec.data.tokenizers import Tokenizer
from mm_rec.errors import ConfigError, DataError
from mm_rec.whole_file import whole_file

__all__ = ["TokenFile", "TokenFiles", "prepare"]

FORMAT_VERSION = 1
BATCH_CHARACTERS = 1 << 20  # tokenized together
SAFE_CHARACTERS = 1 << 24  # between two notes of what is safe on the disk

logger = logging.getLogger(__name__)

# Called with the characters tokenized so far, and all of them.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class TokenFiles:
    """The prepared data.

    Attributes:
        train: What to learn from.
        validation: What to judge by; without tokens if validation_share was 0.
        split: How they were told apart.
        contents: What the documents hold.
        unknown_tokens: Characters that the tokenizer does not know, on both sides.
    """

    train: TokenFile
    validation: TokenFile
    split: Split
    contents: Contents
    unknown_tokens: int


def prepare(
    documents: "Path | str | Iterable[str] | DocumentSource",
    tokenizer: Tokenizer,
    folder: Path | str,
    validation_share: float = 0.1,
    validation: str | None = None,
    on_progress: Progress | None = None,
) -> TokenFiles:
    """Return the token files in `folder`, made now unless they are there for the same inputs.

    Args:
        documents: A file or folder of texts, an iterable of texts that can be gone through again,
            or a DocumentSource.
        tokenizer: Its end_id is put between documents.
        folder: Where to keep the token files, and nothing else.
        validation_share: How much to keep for validation; 0 for none.
        validation: "documents" holds out whole documents, chosen by a digest of their text, so
            equal ones fall on one side; "tail" holds out the last characters of all text; None is
            "documents" from MIN_DOCUMENTS documents up and "tail" below, recorded in the result.
        on_progress: Told how far it has come, now and then.

    Raises:
        DataError: For documents that cannot be read, are empty or change meanwhile, for token files
            that are damaged, and if another process is preparing the same folder.
        ConfigError: For a share or a rule that is not allowed.
    """
    if not 0 <= validation_share < 1:
        raise ConfigError(f"validation_share={validation_share!r}; expected 0 to below 1.")
    if validation not in (None, *VALIDATION_RULES):
        raise ConfigError(f"validation={validation!r}; expected one of {VALIDATION_RULES} or None.")
    source, folder = document_source(documents), Path(folder)
    inputs = {
        "version": FORMAT_VERSION,
        "documents": source.identity,
        "tokenizer": tokenizer.fingerprint,
        "validation_share": validation_share,
        "validation": validation,
    }
    if (prepared := _open_prepared(folder, inputs)) is not None:
        return prepared
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder):
        if (prepared := _open_prepared(folder, inputs)) is None:
            _Preparation(source, tokenizer, folder, inputs, on_progress).run()
            prepared = _open_prepared(folder, inputs)
    assert prepared is not None
    return prepared


class _Preparation:
    """One preparation: the two passes, and where the second one stands."""

    def __init__(
        self,
        source: DocumentSource,
        tokenizer: Tokenizer,
        folder: Path,
        inputs: dict[str, Any],
        on_progress: Progress | None,
    ) -> None:
        self.source, self.tokenizer, self.folder, self.inputs = source, tokenizer, folder, inputs
        self.on_progress = on_progress or (lambda done, total: None)
        self.progress_path = folder / "progress.json"
        self.parts_done = self.characters_done = self.unknown_tokens = 0

    def run(self) -> None:
        """Write the token files, and last their description."""
        (self.folder / "tokens.json").unlink(missing_ok=True)
        note = self._note()
        contents, split = self._scan() if note is None else (note["contents"], note["split"])
        self.contents, self.split = Contents(**contents), Split(**split)
        self.writers = self._open_writers(note)
        try:
            self._tokenize()
        finally:
            for writer in self.writers.values():
                writer.close()
        self._describe()

    def _note(self) -> dict[str, Any] | None:
        """Return what an interrupted preparation of the same inputs noted last."""
        note = _read_json(self.progress_path)
        if note is None or note.get("inputs") != self.inputs:
            return None
        logger.info("%s: going on with an interrupted preparation", self.folder)
        self.parts_done = note["parts_done"]
        self.characters_done = note["characters_done"]
        self.unknown_tokens = note["unknown_tokens"]
        return note

    def _scan(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the documents hold, and how to split them."""
        contents = scan(self.source)
        share, rule = self.inputs["validation_share"], self.inputs["validation"]
        return asdict(contents), asdict(Split.choose(contents, share, rule))

    def _open_writers(self, note: dict[str, Any] | None) -> dict[str, TokenWriter]:
        dtype = token_dtype(self.tokenizer.vocab_size)
        written: dict[str, dict[str, int]] = (
            {side: {} for side in SIDES} if note is None else note["written"]
        )
        return {
            side: TokenWriter(self.folder / f"{side}.tokens", dtype, **written[side])
            for side in SIDES
        }

    def _tokenize(self) -> None:
        parts = split_parts(self.source, self.split)
        unsafe_characters = 0
        for batch in _batches(parts, skipped=self.parts_done):
            self._write(batch)
            characters = sum(len(part.text) for part in batch)
            self.parts_done += len(batch)
            self.characters_done += characters
            unsafe_characters += characters
            if unsafe_characters >= SAFE_CHARACTERS:
                self._make_safe()
                unsafe_characters = 0
            self.on_progress(self.characters_done, self.contents.characters)
        self._make_safe()

    def _write(self, batch: list[Part]) -> None:
        encoded = self.tokenizer.encode_batch([part.text for part in batch])
        for part, ids in zip(batch, encoded, strict=True):
            writer = self.writers[part.side]
            if part.begins_document and writer.tokens:
                writer.append(np.array([self.tokenizer.end_id]), text_bytes=0)
            writer.append(ids, text_bytes=len(part.text.encode()))
            if self.tokenizer.unknown_id is not None:
                self.unknown_tokens += int((ids == self.tokenizer.unknown_id).sum())

    def _make_safe(self) -> None:
        """Note down how far it has come, once that is on the disk."""
        for writer in self.writers.values():
            writer.make_safe()
        note = {
            "inputs": self.inputs,
            "contents": asdict(self.contents),
            "split": asdict(self.split),
            "parts_done": self.parts_done,
            "characters_done": self.characters_done,
            "unknown_tokens": self.unknown_tokens,
            "written": {
                side: {"tokens": writer.tokens, "text_bytes": writer.text_bytes}
                for side, writer in self.writers.items()
            },
        }
        _write_json(self.progress_path, note)

    def _describe(self) -> None:
        """Write down what is in the folder: from now on it is prepared."""
        if self.characters_done != self.contents.characters:
            raise DataError("the documents changed while they were read; prepare them again.")
        for side, writer in self.writers.items():
            if not writer.tokens and (side == "train" or self.inputs["validation_share"]):
                raise DataError(
                    f"the split by {self.split.rule} left no text for {side}; expected more "
                    "documents, another validation_share, or validation='tail'."
                )
        description = {
            "inputs": self.inputs,
            "contents": asdict(self.contents),
            "split": asdict(self.split),
            "unknown_tokens": self.unknown_tokens,
            **{side: describe_tokens(writer) for side, writer in self.writers.items()},
        }
        _write_json(self.folder / "tokens.json", description)
        self.progress_path.unlink(missing_ok=True)
        self._report()

    def _report(self) -> None:
        """Log what was mended or is not known."""
        for count, what in (
            (self.contents.replaced_characters, "bytes that are not UTF-8 were read as U+FFFD"),
            (self.contents.empty_documents, "empty documents were left out"),
            (self.unknown_tokens, "characters are not in the tokenizer's vocabulary"),
        ):
            if count:
                logger.warning("%s: %d %s", self.folder, count, what)


def _open_prepared(folder: Path, inputs: dict[str, Any]) -> TokenFiles | None:
    """Return the token files in the folder, or None if none were made of these inputs."""
    description = _read_json(folder / "tokens.json")
    if description is None:
        return None
    if description.get("inputs") != inputs:
        logger.info("%s: data, tokenizer or split changed; preparing again", folder)
        return None
    return TokenFiles(
        train=TokenFile(folder / "train.tokens", description["train"]),
        validation=TokenFile(folder / "validation.tokens", description["validation"]),
        split=Split(**description["split"]),
        contents=Contents(**description["contents"]),
        unknown_tokens=description["unknown_tokens"],
    )


def _batches(parts: Iterator[Part], skipped: int) -> Iterator[list[Part]]:
    """Yield the parts behind the skipped ones, about BATCH_CHARACTERS at a time."""
    batch: list[Part] = []
    characters = 0
    for part in islice(parts, skipped, None):
        batch.append(part)
        characters += len(part.text)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system lets go of when the process ends, however.

    Raises DataError if another process holds it.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"another process is preparing {folder}; wait for it, or name another folder."
            ) from error
        yield


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return what the file holds, or None if there is none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(
            f"{path} is damaged: {error}; delete {path.parent} and prepare it again."
        ) from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with whole_file(path) as draft:
        draft.write_text(json.dumps(content, indent=1), encoding="utf-8")
