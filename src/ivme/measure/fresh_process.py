"""Peak memory in a fresh process, where nothing that ran before blurs it.

Called as a program it is the fresh process: it reads what to run from the file named in its
argument and writes the outcome beside it. Both are JSON.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ivme.errors import IvmeError, OutOfMemoryError, UsageError
from ivme.measure.memory import PeakMemory


@dataclass(frozen=True, kw_only=True)
class FreshRun:
    """What a function returned in a fresh process, and the memory it took there."""

    value: Any
    peak_memory_bytes: int  # growth of resident memory since after the import of its module
    cuda_peak_memory_bytes: int | None
    method: str  # "kernel" or "sampled"


def measure_in_fresh_process(function: str, arguments: Mapping[str, Any] | None = None) -> FreshRun:
    """Return what a function gives in a new Python process, and its peak memory there.

    function: "package.module:name". arguments: by keyword; they and the returned value must be
    JSON. The module is imported before the memory counts; libraries that the function imports
    itself count.

    Raises:
        UsageError: there is no such function.
        OutOfMemoryError: it ran out of memory, or the system killed it.
        IvmeError: it failed otherwise; the message holds its last line of output.
    """
    if function.count(":") != 1:
        raise UsageError(f"function={function!r}; expected 'package.module:name'")
    with tempfile.TemporaryDirectory(prefix="ivme-") as folder:
        request = Path(folder, "request.json")
        request.write_text(json.dumps({"function": function, "arguments": dict(arguments or {})}))
        done = subprocess.run(
            [sys.executable, "-m", "ivme.measure.fresh_process", str(request)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(one or "." for one in sys.path)},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        answer = _answer_path(request)
        content = json.loads(answer.read_text()) if answer.exists() else None
    if content is None:
        raise _death(function, done.returncode, done.stderr)
    if "value" in content:
        return FreshRun(**content)
    kinds = {"usage": UsageError, "memory": OutOfMemoryError, "other": IvmeError}
    raise kinds[content["kind"]](f"{function} {content['failure']}")


def _death(function: str, returncode: int, stderr: str) -> IvmeError:
    last_line = (stderr.strip().splitlines() or ["it said nothing"])[-1]
    if returncode == -9:
        return OutOfMemoryError(
            f"{function} was killed by the system, most likely out of memory: use a smaller size"
        )
    return IvmeError(f"{function} ended with exit status {returncode}: {last_line}")


def _answer_path(request: Path) -> Path:
    return request.with_name("answer.json")


def _run_request(request: Path) -> dict[str, Any]:
    content = json.loads(request.read_text())
    module_name, name = content["function"].split(":")
    try:
        run = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        return {"kind": "usage", "failure": f"cannot be found: {error}"}
    with PeakMemory() as peak:
        value = run(**content["arguments"])
    return {
        "value": value,
        "peak_memory_bytes": peak.growth_bytes,
        "cuda_peak_memory_bytes": peak.cuda_growth_bytes,
        "method": peak.method,
    }


def _main() -> None:
    from ivme.measure.memory_guard import is_out_of_memory

    request = Path(sys.argv[1])
    try:
        answer = json.dumps(_run_request(request))
    except Exception as error:  # it crosses the process as JSON
        kind = "memory" if is_out_of_memory(error) else "other"
        answer = json.dumps({"kind": kind, "failure": f"failed: {type(error).__name__}: {error}"})
    _answer_path(request).write_text(answer)


if __name__ == "__main__":
    _main()
