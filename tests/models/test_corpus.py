import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ivme.errors import WorkloadError
from ivme.models import corpus

COLLECT = """
import hashlib
from ivme.models.corpus import corpus_documents
print(hashlib.sha256("|".join(corpus_documents()).encode()).hexdigest())
"""


def test_the_corpus_holds_megabytes_of_different_documents() -> None:
    documents = corpus.corpus_documents()

    assert sum(len(document.encode()) for document in documents) > 1_500_000
    assert len(set(documents)) == len(documents)
    assert all(len(document) >= corpus.MIN_DOCUMENT_CHARACTERS for document in documents)


def test_another_process_collects_the_same_corpus(tmp_path: Path) -> None:
    def digest(seed: str, cache: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "IVME_CACHE_DIR": cache}
        return subprocess.run(
            [sys.executable, "-c", COLLECT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert digest("1", str(tmp_path)) == digest("2", os.environ["IVME_CACHE_DIR"])


def test_the_text_is_cut_to_bytes_between_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "corpus_documents", lambda: ("déjà vu",))

    assert corpus.corpus_text(2) == "d"
    assert corpus.corpus_text(3) == "dé"
    assert corpus.corpus_text() == "déjà vu"


def test_sources_are_read_in_order_and_never_run(tmp_path: Path) -> None:
    words = "twelve words that say nothing in particular but fill up the line"
    (tmp_path / "b.py").write_text(f'"""Module b, {words}."""\nraise SystemExit\n')
    (tmp_path / "a.py").write_text(
        f'class A:\n    """Class A, {words}."""\n'
        f'    def f(self):\n        """Method f, {words}."""\n'
        f'def g():\n    """Function g, {words}."""\n'
    )
    (tmp_path / "broken.py").write_text('"""Never closed')
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "c.py").write_text(f'"""A test, {words}."""')

    starts = [text.split(",")[0] for text in corpus._documents_below(tmp_path)]

    assert starts == ["Class A", "Method f", "Function g", "Module b"]


def test_documents_lose_control_characters_and_trailing_spaces() -> None:
    assert corpus._clean("one\f \x00two  \n\nthree\t\ud800\n") == "one two\n\nthree"


def test_a_stripped_standard_library_is_refused_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))

    with pytest.raises(WorkloadError, match=r"holds 0 bytes of documentation.*keeps its source"):
        corpus.corpus_documents()
