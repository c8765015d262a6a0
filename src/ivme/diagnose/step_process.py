"""A training step in a process of its own, seen from the parent: requests, time limits, deaths."""

import contextlib
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Self

from ivme.diagnose.child import serve
from ivme.diagnose.targets import FILE, Target
from ivme.errors import DeviceError, IvmeError, OutOfMemoryError, UsageError

STEP_LIMIT, BUDGET = "--step-limit", "--budget"  # the options that set time limits
LONGEST_POLL_S = 1e6  # a wait must fit into 32 bits of milliseconds
DUMP_WAIT_S = 2.0  # for a hanging process to say where it is
END_WAIT_S = 5.0  # for a process to end by itself

_FRAME = re.compile(r'File "(?P<file>.+)", line (?P<line>\d+) in (?P<name>\S+)')


def process_context() -> BaseContext:
    """Return how children start: on Linux forked from a process that has the libraries loaded."""
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ivme.diagnose.preloading"])
    return context


class StepProcess:
    """A child that holds one training step.

    with StepProcess(target, process_context()) as process:
        process.request("build", 60, settings=settings.as_dict())

    A request raises UsageError, DeviceError (it needs a GPU), OutOfMemoryError or IvmeError; after
    a time limit or a death the process is gone.
    """

    def __init__(self, target: Target, context: BaseContext) -> None:
        self._target, self._is_ended = target, False
        self._folder = tempfile.TemporaryDirectory(prefix="ivme-")
        self._log = Path(self._folder.name, "log.txt")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, target, str(self._log))
        self._process = context.Process(target=serve, args=arguments)  # type: ignore[attr-defined]
        self._process.start()
        theirs.close()

    def request(
        self, name: str, limit_s: float, *, limit_option: str = STEP_LIMIT, **arguments: Any
    ) -> Any:
        """Return the answer to a request; what takes longer than the limit is ended.

        limit_option: what on the command line raises the limit, for the message.
        """
        try:
            self._connection.send((name, arguments))
            if not self._connection.poll(min(limit_s, LONGEST_POLL_S)):
                raise self._hung(limit_s, limit_option)
            reply = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        if "error" in reply:
            raise self._failure(reply["error"], reply["message"])
        return reply["value"]

    def close(self) -> None:
        """End the process and what it started."""
        self._connection.close()
        self._kill()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _failure(self, kind: str, message: str) -> IvmeError:
        if kind == "gpu":
            return DeviceError(
                f"{message}; the step needs a GPU, and this machine has none that torch can use: "
                "let it take the device as an argument, or run it where one is"
            )
        if kind == "memory":
            return OutOfMemoryError(f"out of memory: {message}")
        return (UsageError if kind == "usage" else IvmeError)(message)

    def _hung(self, limit_s: float, limit_option: str) -> IvmeError:
        where = self._where_it_is()
        self._kill()
        return IvmeError(
            f"{self._target.reference}: no step ended within {limit_s:.0f} s{where}; mend it, or "
            f"raise {limit_option} if it is that slow"
        )

    def _died(self) -> IvmeError:
        self._process.join(END_WAIT_S)
        status = self._process.exitcode
        if status == -signal.SIGKILL:
            return OutOfMemoryError(
                f"{self._target.reference}: the system killed the step, most likely out of memory"
            )
        said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f"; its last line of output: {said[-1]}" if said else ""
        return IvmeError(
            f"{self._target.reference}: the step ended its process with exit status {status}{last}"
        )

    def _where_it_is(self) -> str:
        """Return the line that a hanging process is in, the user's own where there is one."""
        pid, before = self._process.pid, self._log.stat().st_size if self._log.exists() else 0
        if pid is None or not hasattr(signal, "SIGUSR1"):
            return ""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
        deadline_s = time.monotonic() + DUMP_WAIT_S
        while time.monotonic() < deadline_s:
            time.sleep(0.05)
            text = self._log.read_text(encoding="utf-8", errors="replace")[before:]
            frames = [found.groupdict() for found in _FRAME.finditer(text)]
            if frames:
                own = [one for one in frames if self._is_own(one["file"])]
                at = (own or frames)[0]
                return f" (it is in {at['name']}(), {Path(at['file']).name}, line {at['line']})"
        return ""

    def _is_own(self, file: str) -> bool:
        if self._target.kind != FILE:
            return False
        return Path(file).absolute() == Path(self._target.reference).absolute()

    def _kill(self) -> None:
        """End the process with its group (see child.serve), also where it died before its own."""
        pid = self._process.pid
        if pid is None or self._is_ended:
            return
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._process.kill()
        self._process.join(END_WAIT_S)
        self._is_ended = True  # its number may be another's from now on
