"""The built-in corpus: the English documentation inside the running Python installation.

Docstrings of the standard library and the texts of its help system, read with `ast` from the
source files, which are never imported. Nothing is downloaded, and the order is fixed. The
documents are kept as one text file in the cache folder, one for each Python version.
"""

import ast
import hashlib
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from ivme.errors import WorkloadError
from ivme.hardware.cache import cache_folder
from ivme.whole_file import write_whole

MIN_DOCUMENT_CHARACTERS = 40  # shorter ones say little more than a name
MIN_CORPUS_BYTES = 500_000  # tokenizers trained on less would not be worth measuring
LEFT_OUT = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3", "__pycache__"}
)
SEPARATOR = "\n\f\n"  # form feeds are taken out of the documents
FORMAT = 1  # raise it when cleaning or order change


def corpus_documents() -> tuple[str, ...]:
    """Return the documents of the corpus, in a fixed order.

    A document is one docstring or one help text, cleaned, at least MIN_DOCUMENT_CHARACTERS long.

    Raises:
        WorkloadError: the standard library on this machine holds too little documentation.
    """
    cached = cache_folder() / "corpus" / f"{corpus_version()}.txt"
    if not cached.is_file():
        write_whole(cached, SEPARATOR.join(_collect(_stdlib_folder())))
    return tuple(cached.read_text(encoding="utf-8").split(SEPARATOR))


def corpus_text(max_bytes: int | None = None) -> str:
    """Return the corpus as one text, its first `max_bytes` bytes of UTF-8 if given."""
    text = "\n\n".join(corpus_documents())
    if max_bytes is None:
        return text
    return text.encode("utf-8")[:max_bytes].decode("utf-8", errors="ignore")


def corpus_version() -> str:
    """Return a name that changes whenever the corpus may: Python's version, place, and cleaning."""
    place = hashlib.sha256(str(_stdlib_folder()).encode()).hexdigest()[:8]
    return f"python-{platform.python_version()}-{place}-{FORMAT}"


def _stdlib_folder() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _collect(folder: Path) -> list[str]:
    """Return every document below `folder` once; raises WorkloadError if they are too few."""
    documents = list(dict.fromkeys(_documents_below(folder)))
    size = sum(len(document.encode("utf-8")) for document in documents)
    if size < MIN_CORPUS_BYTES:
        raise WorkloadError(
            f"the Python standard library in {folder} holds {size} bytes of documentation, and the "
            f"built-in corpus and the presets need {MIN_CORPUS_BYTES}: use a Python that keeps its "
            "source files and docstrings, or name a model folder and a file of texts"
        )
    return documents


def _documents_below(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        relative = path.relative_to(folder)
        if LEFT_OUT.isdisjoint(relative.parts):
            yield from _documents_in(path, is_help=relative.as_posix() == "pydoc_data/topics.py")


def _documents_in(path: Path, *, is_help: bool) -> Iterator[str]:
    """Yield the cleaned documents of one source file; none if it is not valid Python."""
    try:
        with warnings.catch_warnings():  # about escapes in other people's strings
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # the standard library ships broken files on purpose
        return
    texts = _help_texts(tree) if is_help else _docstrings(tree)
    for text in texts:
        cleaned = _clean(text)
        if len(cleaned) >= MIN_DOCUMENT_CHARACTERS:
            yield cleaned


def _docstrings(node: ast.AST) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and functions, in the order of the source."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node)
        if docstring:
            yield docstring
    for child in ast.iter_child_nodes(node):
        yield from _docstrings(child)


def _help_texts(tree: ast.Module) -> Iterator[str]:
    """Yield the values of the dictionary that pydoc keeps the language reference in."""
    for statement in tree.body:
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Dict):
            for entry in value.values:
                if isinstance(entry, ast.Constant) and isinstance(entry.value, str):
                    yield entry.value


def _clean(text: str) -> str:
    """Return the text without control characters, trailing spaces and lone surrogates."""
    text = text.encode("utf-8", errors="ignore").decode("utf-8")
    kept = "".join(letter for letter in text if letter == "\n" or letter.isprintable())
    return "\n".join(line.rstrip() for line in kept.splitlines()).strip()
