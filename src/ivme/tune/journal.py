"""The journal of a search: finished steps on disk, so that an interrupted search goes on.

A search is a plain program whose steps are remembered: asked again for a step that it has, the
journal gives the result kept and runs nothing. One line of JSON a step, flushed as it ends; a
line cut short by a crash is left out.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ivme.measure.clock import Clock


class Journal:
    """Steps by their names, each with its result and the seconds that it took."""

    def __init__(self, path: Path | None, fingerprint: Mapping[str, Any], clock: Clock) -> None:
        """Open the journal, or begin a new one.

        path: of its file; None: nothing is kept. fingerprint: what the steps depend on; a journal
        of another search is begun anew, which `was_replaced` tells.
        """
        self._path, self._clock = path, clock
        self._steps: dict[str, Any] = {}
        self.taken_s = 0.0  # by the steps of earlier runs
        self.was_replaced = False
        head = {"fingerprint": json.loads(json.dumps(fingerprint))}
        if path is None:
            return
        lines = _read_lines(path)
        self.was_replaced = bool(lines) and lines[0] != head
        kept = [] if self.was_replaced else lines[1:]
        for line in kept:
            self._steps[line["step"]] = line["result"]
            self.taken_s += line["took_s"]
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        whole = "".join(json.dumps(line) + "\n" for line in (head, *kept))
        path.write_text(whole, encoding="utf-8")

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def names(self) -> tuple[str, ...]:
        """The steps that are kept."""
        return tuple(self._steps)

    def __contains__(self, step: str) -> bool:
        return step in self._steps

    def step(self, name: str, run: Callable[[], Any]) -> Any:
        """Return the step's result, kept from before or made now; it must be JSON."""
        if name not in self._steps:
            start_s = self._clock.now()
            result = json.loads(json.dumps(run()))
            self._steps[name] = result
            self._append({"step": name, "result": result, "took_s": self._clock.now() - start_s})
        return self._steps[name]

    def remove(self) -> None:
        """Delete the file: the search is over."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _append(self, line: Mapping[str, Any]) -> None:
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def journal_path(folder: Path) -> Path:
    """Return where the journal of a search stands whose plan goes into the folder: beside it."""
    return folder.absolute().with_name(f"{folder.absolute().name}.search.jsonl")


def _read_lines(path: Path) -> list[Any]:
    """Return the whole lines of a journal; nothing if there is none."""
    lines = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            lines.append(json.loads(line))
    except FileNotFoundError:
        return []
    except ValueError:  # cut short by a crash: what stands before it is whole
        pass
    return lines
