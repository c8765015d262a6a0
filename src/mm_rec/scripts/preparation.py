"""From the settings of a run to its tokenizer and token files, made once and kept."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from mm_rec.data.documents import Document, DocumentSource, TextFiles, Texts
from mm_rec.data.text_formats import ReadingCounts
from mm_rec.data.token_file import TokenFiles, only_one, prepare
from mm_rec.data.tokenizers import KINDS, Tokenizer, load_tokenizer, train_tokenizer
from mm_rec.training.configuration import TrainingConfig
from mm_rec.whole_file import whole_file

ORIGIN_FILE = "origin.json"  # what a kept tokenizer was trained on
MOST_TRAINING_CHARACTERS = 100_000_000  # of byte pairs: more changes little, and takes memory


@dataclass(frozen=True, kw_only=True)
class WatchedDocuments:
    """Documents that call `watch` before each one that is read; what it raises ends the reading."""

    documents: DocumentSource
    watch: Callable[[], None]

    @property
    def identity(self) -> str:
        """That of the documents."""
        return self.documents.identity

    def read(self, counts: ReadingCounts) -> Iterator[Document]:
        """Yield the documents, and count them."""
        for document in self.documents.read(counts):
            self.watch()
            yield document


def documents_of(config: TrainingConfig) -> DocumentSource:
    """Return the documents to train on: the user's, or the built-in corpus."""
    if config.data_dir is not None:
        return TextFiles(path=Path(config.data_dir), text_field=config.text_field)
    from ivme.models.corpus import corpus_documents

    return Texts(texts=corpus_documents(), name="built-in corpus")


def prepare_tokenizer(config: TrainingConfig, documents: DocumentSource) -> Tokenizer:
    """Return the tokenizer of a run: loaded if it is kept, else trained and kept.

    Raises ConfigError or DataError for a kind, folder or documents that cannot be used, and if
    another process is preparing the same folder.
    """
    assert config.tokenizer is not None
    assert config.vocab_size is not None
    assert config.prepared_dir is not None
    if config.tokenizer not in KINDS:
        return load_tokenizer(config.tokenizer)
    folder = Path(config.prepared_dir) / "tokenizer"
    origin = [config.tokenizer, config.vocab_size, documents.identity]
    if _read_origin(folder) == origin:
        return load_tokenizer(folder)
    vocab_size = 257 if config.tokenizer == "bytes" else config.vocab_size
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder):
        texts = _texts(documents, config.tokenizer)
        tokenizer = train_tokenizer(config.tokenizer, texts, vocab_size)
        _keep(tokenizer, folder, origin)
    return tokenizer


def _keep(tokenizer: Tokenizer, folder: Path, origin: list) -> None:
    """Write the tokenizer, and last what it was made of; before that, nothing vouches for it."""
    (folder / ORIGIN_FILE).unlink(missing_ok=True)
    tokenizer.save(folder)
    with whole_file(folder / ORIGIN_FILE) as draft:
        draft.write_text(json.dumps(origin), encoding="utf-8")


def prepare_tokens(
    config: TrainingConfig, documents: DocumentSource, tokenizer: Tokenizer
) -> TokenFiles:
    """Return the token files of a run, made now unless they are there."""
    assert config.prepared_dir is not None
    return prepare(
        documents,
        tokenizer,
        Path(config.prepared_dir) / "tokens",
        validation_share=config.validation_share,
        validation=config.validation,
    )


def _read_origin(folder: Path) -> list | None:
    """Return what the kept tokenizer was made of; it is written last, so it vouches for it."""
    try:
        origin: list = json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return origin


def _texts(documents: DocumentSource, kind: str) -> Iterable[str]:
    """Return what to train a tokenizer on; characters are all counted."""
    texts = (document.text for document in documents.read(ReadingCounts()))
    if kind == "characters":
        return texts
    left = [MOST_TRAINING_CHARACTERS]

    def is_wanted(text: str) -> bool:
        left[0] -= len(text)
        return left[0] + len(text) > 0

    return takewhile(is_wanted, texts)
