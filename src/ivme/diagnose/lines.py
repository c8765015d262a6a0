"""Source lines: which line of the model's code an operator, forward or backward, belongs to.

Forward, the line is on the call stack. Backward, autograd's anomaly mode has kept the stack of the
call that made each node of the graph, and hooks on the nodes take their times.
"""

import os
import re
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch

Place = tuple[str, int]  # file and line
Line = tuple[Place, ...]  # a place, and the one in another file that called it

_TORCH = str(Path(torch.__file__).parent)
_OWN = str(Path(__file__).parent)
_STANDARD = sysconfig.get_path("stdlib")
_SITE = sysconfig.get_path("purelib")
_KERNELS = f"{os.sep}mm_rec{os.sep}ops{os.sep}"
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


@lru_cache(maxsize=4096)
def is_model_code(file: str) -> bool:
    """Return whether a file is neither torch, nor the standard library, nor this package.

    The files that wrap MM-Rec's kernels are left out like torch's: who calls them is of interest.
    """
    if file.startswith(("<", _TORCH, _OWN)) or _KERNELS in file:
        return False
    return not file.startswith(_STANDARD) or file.startswith(_SITE)


def line_of_caller() -> Line | None:
    """Return the innermost line of model code on the stack, None if there is none."""
    return _line_of(_stack())


def _stack() -> Iterator[Place]:
    """Yield the places on the stack, innermost first, as far as they are looked at."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


def _line_of(places: Iterable[Place]) -> Line | None:
    """Return the first place in model code, and the first one after it in another such file.

    places: innermost first.
    """
    own = (place for place in places if is_model_code(place[0]))
    first = next(own, None)
    if first is None:
        return None
    caller = next((place for place in own if place[0] != first[0]), None)
    return (first,) if caller is None else (first, caller)


def shown(line: Line) -> str:
    """Return a line as "mm_rec/core/linear.py:30, from mm_rec/model.py:87"."""
    return ", from ".join(map(_shown_place, line))


def _shown_place(place: Place) -> str:
    """Return a place from its package on, or from the working folder."""
    path = Path(place[0])
    parts = path.parts[-2:]  # of a file from elsewhere, enough to know it by
    for root in (Path(_SITE), Path.cwd()):
        if path.is_relative_to(root):
            parts = path.relative_to(root).parts
            break
    if "src" in parts:
        parts = parts[parts.index("src") + 1 :]
    return f"{'/'.join(parts)}:{place[1]}"


class BackwardLines:
    """Times the nodes of a graph while backward runs through it, by the line that made them.

    The graph must have been made under torch.autograd.set_detect_anomaly(True, check_nan=False).
    """

    def __init__(self) -> None:
        self.seconds: dict[Line, float] = {}
        self._handles: list[Any] = []

    def watch(self, roots: Iterable[torch.Tensor]) -> None:
        """Put hooks on every node that can be reached from the roots."""
        waiting = [root.grad_fn for root in roots if root.grad_fn is not None]
        seen = set(waiting)
        while waiting:
            node = waiting.pop()
            self._hook(node)
            for after, _ in node.next_functions:
                if after is not None and after not in seen:
                    seen.add(after)
                    waiting.append(after)

    def release(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, node: Any) -> None:
        line = _line_of_node(node)
        if line is None:
            return
        start_s = [0.0]

        def before(gradients: Any) -> None:
            start_s[0] = time.perf_counter()

        def after(inputs: Any, outputs: Any) -> None:
            taken_s = time.perf_counter() - start_s[0]
            self.seconds[line] = self.seconds.get(line, 0.0) + taken_s

        self._handles.append(node.register_prehook(before))
        self._handles.append(node.register_hook(after))


def _line_of_node(node: Any) -> Line | None:
    """Return the line that made a node; none for those that only collect gradients."""
    trace = node.metadata.get("traceback_")
    if not trace:
        return None
    matches = [_FRAME.search(part) for part in reversed(trace)]
    return _line_of((one["file"], int(one["line"])) for one in matches if one)
