"""From the settings of a run to its tokenizer and token files, made once and kept."""

import json
from collections.abc import Callable, Iterable
from itertools import takewhile
from pathlib import Path

from mm_rec.data.documents import DocumentSource, TextFiles, Texts
from mm_rec.data.text_formats import ReadingCounts
from mm_rec.data.token_file import TokenFiles, prepare
from mm_rec.data.tokenizers import KINDS, Tokenizer, load_tokenizer, train_tokenizer
from mm_rec.training.configuration import TrainingConfig

ORIGIN_FILE = "origin.json"  # what a kept tokenizer was trained on
MOST_TRAINING_CHARACTERS = 100_000_000  # of byte pairs: more changes little, and takes memory


def documents_of(config: TrainingConfig) -> DocumentSource:
    """Return the documents to train on: the user's, or the built-in corpus."""
    if config.data_dir is not None:
        return TextFiles(path=Path(config.data_dir), text_field=config.text_field)
    from ivme.models.corpus import corpus_documents

    return Texts(texts=corpus_documents(), name="built-in corpus")


def prepare_tokenizer(config: TrainingConfig, documents: DocumentSource) -> Tokenizer:
    """Return the tokenizer of a run: loaded if it is kept, else trained and kept.

    Raises ConfigError or DataError for a kind, folder or documents that cannot be used.
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
    tokenizer = train_tokenizer(config.tokenizer, _texts(documents, config.tokenizer), vocab_size)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder)
    (folder / ORIGIN_FILE).write_text(json.dumps(origin), encoding="utf-8")
    return tokenizer


def prepare_tokens(
    config: TrainingConfig,
    documents: DocumentSource,
    tokenizer: Tokenizer,
    on_progress: Callable[[int, int], None] | None = None,
) -> TokenFiles:
    """Return the token files of a run, made now unless they are there."""
    assert config.prepared_dir is not None
    return prepare(
        documents,
        tokenizer,
        Path(config.prepared_dir) / "tokens",
        validation_share=config.validation_share,
        validation=config.validation,
        on_progress=on_progress,
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
