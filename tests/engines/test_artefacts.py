"""The cache of exported copies, with an engine whose files are quick to write."""

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ivme.engines.artefacts import MANIFEST, cached_artefact, find_damage
from ivme.engines.protocol import EngineOptions
from ivme.errors import RefusedError
from ivme.models.pooling import Pooling

OPTIONS = EngineOptions(precision="int8-static", calibration_texts=("a text", "another"))


@dataclass
class WritingEngine:
    """Writes one small file and one in a folder, and remembers how often."""

    name: str = "writing"
    precisions: tuple[str, ...] = ("float32", "int8-static")
    library: str = "1.0"
    fails: bool = False
    built: list[Path] = field(default_factory=list)

    def versions(self) -> dict[str, str]:
        return {"library": self.library}

    def stored_precision(self, options: EngineOptions) -> str:
        return {"bfloat16": "float32"}.get(options.precision or "", options.precision or "float32")

    def build(self, model: Any, options: EngineOptions, folder: Path) -> None:
        self.built.append(folder)
        (folder / "weights.bin").write_bytes(b"weights of " + model.content_hash.encode())
        (folder / "parts").mkdir()
        (folder / "parts" / "graph.json").write_text(json.dumps(list(options.calibration_texts)))
        if self.fails:
            raise RefusedError("no such operator")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IVME_CACHE_DIR", str(tmp_path))
    return tmp_path / "artefacts"


@pytest.fixture
def model() -> Any:
    return SimpleNamespace(content_hash="abc", kind="classifier", pooling=None)


def test_an_artefact_is_built_once_and_found_again(model: Any) -> None:
    engine = WritingEngine()

    first, second = (cached_artefact(engine, model, OPTIONS) for _ in range(2))

    assert first == second
    assert len(engine.built) == 1
    assert (first / "weights.bin").read_bytes() == b"weights of abc"
    assert find_damage(first) is None


def test_threads_and_lengths_that_no_file_depends_on_share_an_artefact(model: Any) -> None:
    engine = WritingEngine()
    options = EngineOptions(precision="float32")
    others = (replace(options, threads=2), replace(options, max_length=64, pad_to=64))

    folders = {cached_artefact(engine, model, each) for each in (options, *others)}

    assert len(folders) == 1


def test_precisions_that_run_the_same_files_share_an_artefact(model: Any) -> None:
    engine = WritingEngine()

    folders = {
        cached_artefact(engine, model, EngineOptions(precision=precision))
        for precision in (None, "float32", "bfloat16")
    }

    assert len(folders) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"engine": WritingEngine(name="other")},
        {"engine": WritingEngine(library="1.1")},
        {"model": SimpleNamespace(content_hash="xyz", kind="classifier", pooling=None)},
        {"model": SimpleNamespace(content_hash="abc", kind="embedding", pooling=Pooling())},
        {
            "model": SimpleNamespace(
                content_hash="abc", kind="embedding", pooling=Pooling(mode="first")
            )
        },
        {"options": replace(OPTIONS, precision="float32")},
        {"options": replace(OPTIONS, calibration_texts=("a texta", "nother"))},
        {"options": replace(OPTIONS, max_length=64)},
    ],
)
def test_whatever_the_files_depend_on_gives_another_artefact(
    model: Any, other: dict[str, Any]
) -> None:
    plain: dict[str, Any] = {"engine": WritingEngine(), "model": model, "options": OPTIONS}

    assert cached_artefact(**plain) != cached_artefact(**(plain | other))


@pytest.mark.parametrize(
    ("name", "content", "damage"),
    [
        ("weights.bin", b"", "another size"),
        ("weights.bin", b"weights of xyz", "another checksum"),
        ("parts/graph.json", None, "FileNotFoundError"),
        (MANIFEST, b'{"files": {"weights.bin": {}}}', "KeyError"),
        (MANIFEST, b"not json", "JSONDecodeError"),
    ],
)
def test_a_damaged_artefact_is_built_again(
    model: Any, name: str, content: bytes | None, damage: str
) -> None:
    engine = WritingEngine()
    folder = cached_artefact(engine, model, OPTIONS)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    assert damage in (find_damage(folder) or "")

    again = cached_artefact(engine, model, OPTIONS)

    assert again == folder
    assert len(engine.built) == 2
    assert find_damage(folder) is None
    assert (folder / "weights.bin").read_bytes() == b"weights of abc"


def test_a_build_that_fails_leaves_nothing_behind(model: Any, own_cache: Path) -> None:
    with pytest.raises(RefusedError, match="no such operator"):
        cached_artefact(WritingEngine(fails=True), model, OPTIONS)

    assert [path for path in own_cache.iterdir() if path.is_dir()] == []
    assert cached_artefact(WritingEngine(), model, OPTIONS).is_dir()


COMPETING = """
import sys
from pathlib import Path
from types import SimpleNamespace
from ivme.engines.artefacts import cached_artefact
from ivme.engines.protocol import EngineOptions

class Engine:
    name, precisions = "competing", ("float32",)
    def versions(self):
        return {}
    def stored_precision(self, options):
        return "float32"
    def build(self, model, options, folder):
        (folder / "started").write_text("")
        with open(sys.argv[1], "a") as log:
            log.write("built\\n")
        sys.stdin.readline()  # until both have asked
        (folder / "whole").write_text("")

print("ready", flush=True)
folder = cached_artefact(
    Engine(), SimpleNamespace(content_hash="abc", kind="causal", pooling=None), EngineOptions())
print(sorted(path.name for path in folder.iterdir()))
"""


def test_processes_that_ask_at_once_build_once_and_see_a_whole_artefact(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", COMPETING, str(log)]
    pipe = subprocess.PIPE
    with ExitStack() as running:
        processes = [
            running.enter_context(
                subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
            )
            for _ in range(2)
        ]
        for process in processes:
            running.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=60) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], outputs
    assert [output for output, _ in outputs] == ["['manifest.json', 'started', 'whole']\n"] * 2
    assert log.read_text() == "built\n"
