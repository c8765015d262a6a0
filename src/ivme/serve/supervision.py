"""Processes that hold models: started, watched, and started again when they die or hang.

Each is `python -m ivme.serve.member_process` at the other end of a socket pair. A process that is
killed, runs out of memory or does not answer in time is replaced in the background, each time
after a longer pause; until then it is down, for a reason that can be named.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ivme import errors
from ivme.errors import IvmeError
from ivme.hardware.threads import LIBRARY_VARIABLES
from ivme.measure.clock import Clock, SystemClock
from ivme.serve.channel import Channel, ChannelClosed, Message

OPEN_TIMEOUT_S = 300.0  # to load a model
FIRST_PAUSE_S = 0.1
MOST_PAUSE_S = 30.0
STEADY_S = 60.0  # after this long without dying the pauses start anew

logger = logging.getLogger("ivme.serve")


class MemberDownError(IvmeError):
    """The process that holds a model is not there; it is being started again."""


class MemberProcess:
    """One process that holds a model.

    name: in messages. opening: what the process is told to load, see member_process.py. threads:
    that its libraries may use. call_timeout_s: a call that takes longer means that it hangs.
    """

    def __init__(
        self,
        name: str,
        opening: Mapping[str, Any],
        *,
        threads: int | None,
        call_timeout_s: float,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.description: Mapping[str, Any] = {}  # what the process says of its model
        self.restarts = 0
        self.down_reason: str | None = f"{name} is starting"
        self._opening = opening
        self._threads = threads
        self._call_timeout_s = call_timeout_s
        self._clock = clock or SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._kill_reason: str | None = None
        self._opening_error: IvmeError | None = None
        self._closing = threading.Event()
        self._exchanging = threading.Lock()
        self._changed = threading.Condition()
        self._watcher = threading.Thread(target=self._keep_alive, name=f"ivme-{name}", daemon=True)

    @property
    def is_ready(self) -> bool:
        """Whether it can be called."""
        return self.down_reason is None

    @property
    def pid(self) -> int | None:
        """The process's number while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process, which loads its model; a second call does nothing."""
        if self._watcher.ident is None:
            self._watcher.start()

    def wait_until_ready(self, timeout_s: float | None = None) -> None:
        """Wait until it can be called.

        Raises:
            IvmeError: it cannot load its model, for the reason that it gave.
            MemberDownError: not in time, or closed.
        """
        with self._changed:
            self._changed.wait_for(self._is_settled, timeout_s)
            if self._opening_error is not None:
                raise self._opening_error
            if not self.is_ready:
                raise MemberDownError(str(self.down_reason))

    @contextmanager
    def calling(self) -> Iterator[Channel]:
        """Give the channel for one exchange; a process that fails in it is ended.

        Raises:
            MemberDownError: it is down, died meanwhile, or did not answer in time.
        """
        with self._exchanging:
            with self._changed:
                process, channel = self._process, self._channel
                if process is None or channel is None or not self.is_ready:
                    raise MemberDownError(self.down_reason or f"{self.name} is starting")
            try:
                yield channel
            except ChannelClosed as error:
                raise self._end(process, "died while it answered") from error
            except TimeoutError as error:
                reason = f"did not answer within {self._call_timeout_s:g} s"
                raise self._end(process, reason) from error
            except BaseException:  # left half way: what came next would be the rest of its answer
                self._end(process, "was interrupted")
                raise

    def call(self, content: Mapping[str, Any], arrays: Mapping[str, Any] | None = None) -> Message:
        """Return the answer to one message.

        Raises:
            MemberDownError: it is down, died meanwhile, or did not answer in time.
            IvmeError: what it says went wrong.
        """
        with self.calling() as channel:
            channel.send(content, arrays)
            answer = channel.receive(self._call_timeout_s)
        raise_told_error(answer.content.get("error"))
        return answer

    def close(self) -> None:
        """End the process and its watcher."""
        self._closing.set()
        with self._changed:
            self.down_reason = f"{self.name} is closed"
            self._changed.notify_all()
        self._shut()
        if self._watcher.is_alive():
            self._watcher.join(timeout=10)

    def _is_settled(self) -> bool:
        return self.is_ready or self._opening_error is not None or self._closing.is_set()

    def _keep_alive(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._closing.is_set():
            started_s = self._clock.now()
            if self._start_once():
                assert self._process is not None
                self._process.wait()
            self._note_end()
            if self._clock.now() - started_s > STEADY_S:
                pause_s = FIRST_PAUSE_S
            if self._closing.wait(pause_s):
                break
            pause_s = min(2 * pause_s, MOST_PAUSE_S)
            self.restarts += 1

    def _start_once(self) -> bool:
        """Start a process and wait for its model; return whether it can be called."""
        self._kill_reason = None
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _spawn(theirs, self._threads)
        channel = self._channel = Channel(ours)
        try:
            channel.send(self._opening)
            answer = channel.receive(OPEN_TIMEOUT_S).content
            raise_told_error(answer.get("error"))
        except (ChannelClosed, TimeoutError):
            self._shut()
            return False
        except IvmeError as error:
            self._shut()
            self._opening_failed(error)
            return False
        with self._changed:
            if self._closing.is_set():
                self._shut()
                return False
            self.description = answer
            self._opening_error = None
            self.down_reason = None
            self._changed.notify_all()
        return True

    def _opening_failed(self, error: IvmeError) -> None:
        self._kill_reason = f"cannot load its model: {error}"
        if not self.description:  # it never worked: whoever waits for it should know why
            with self._changed:
                self._opening_error = error
                self._changed.notify_all()

    def _note_end(self) -> None:
        assert self._process is not None
        self._process.wait()
        reason = self._kill_reason or _describe_exit(self._process.returncode)
        with self._changed:
            if not self._closing.is_set():
                self.down_reason = f"{self.name} {reason}; it is being started again"
                logger.warning(self.down_reason)
            self._changed.notify_all()
        self._shut()

    def _end(self, process: "subprocess.Popen[bytes]", reason: str) -> MemberDownError:
        """Kill a process, whose watcher starts the next; return what callers are told."""
        with self._changed:
            if self._process is process and self.is_ready:
                self._kill_reason = reason
                self.down_reason = f"{self.name} {reason}; it is being started again"
        process.kill()
        return MemberDownError(self.down_reason or f"{self.name} {reason}")

    def _shut(self) -> None:
        """Close our end; a process that does not leave by itself is killed."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        process = self._process
        if process is not None and process.poll() is None:
            try:
                process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class ProcessPool:
    """Processes that hold copies of one model; a call goes to one that is ready and free."""

    def __init__(self, processes: Sequence[MemberProcess]) -> None:
        self.processes = tuple(processes)
        self._busy: set[MemberProcess] = set()
        self._is_closed = False
        self._changed = threading.Condition()

    def start(self) -> None:
        """Start all; they load side by side."""
        for process in self.processes:
            process.start()

    def wait_until_ready(self) -> None:
        """Wait until all can be called; raises IvmeError if one cannot load its model."""
        for process in self.processes:
            process.wait_until_ready()

    @property
    def is_ready(self) -> bool:
        """Whether at least one can be called."""
        return any(process.is_ready for process in self.processes)

    @property
    def down_reason(self) -> str | None:
        """Why none can be called; None if one can."""
        return None if self.is_ready else self.processes[0].down_reason

    @property
    def description(self) -> Mapping[str, Any]:
        """What the processes say of their model."""
        return next((one.description for one in self.processes if one.description), {})

    @property
    def restarts(self) -> int:
        """How often a process was started again."""
        return sum(process.restarts for process in self.processes)

    @contextmanager
    def taking(self, wait_s: float = 0.0) -> Iterator[MemberProcess]:
        """Give a process that is ready, alone, until the block ends.

        wait_s: to wait for one that is being started again; busy ones are waited for in any case.

        Raises:
            MemberDownError: none is ready.
        """
        process = self._take(wait_s)
        try:
            yield process
        finally:
            with self._changed:
                self._busy.discard(process)
                self._changed.notify()

    def close(self) -> None:
        """End all processes; who waits for one is told that it is closed."""
        self._is_closed = True
        threads = [threading.Thread(target=process.close) for process in self.processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _take(self, wait_s: float) -> MemberProcess:
        clock = SystemClock()
        deadline_s = clock.now() + wait_s
        with self._changed:
            while True:
                free = [one for one in self.processes if one not in self._busy and one.is_ready]
                if free:
                    self._busy.add(free[0])
                    return free[0]
                is_late = not self._busy and clock.now() >= deadline_s
                if is_late or self._is_closed:
                    raise MemberDownError(self.down_reason or "the model is starting")
                self._changed.wait(0.02)  # a process that became ready tells its own waiters alone


def raise_told_error(told: Mapping[str, str] | None) -> None:
    """Raise the error that a process reported, as the class that it was there."""
    if told is not None:
        raise told_error(told)


def told_error(told: Mapping[str, str]) -> IvmeError:
    """Return the error that a process reported, as the class that it was there."""
    kind = getattr(errors, told["type"], IvmeError)
    is_ours = isinstance(kind, type) and issubclass(kind, IvmeError)
    return kind(told["message"]) if is_ours else IvmeError(told["message"])


def _spawn(connection: socket.socket, threads: int | None) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    if threads is not None:
        environment.update(dict.fromkeys(LIBRARY_VARIABLES, str(threads)))
    return subprocess.Popen(
        [sys.executable, "-m", "ivme.serve.member_process", str(connection.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
        pass_fds=(connection.fileno(),),
        start_new_session=True,  # Ctrl-C is for the server, which ends its processes in order
        env=environment,
    )


def _has_descriptor(stream: Any) -> bool:
    try:
        return isinstance(stream.fileno(), int)
    except (AttributeError, OSError, ValueError):
        return False


def _describe_exit(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed (SIGKILL: by hand, or because memory ran out)"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"left with exit status {status}"
