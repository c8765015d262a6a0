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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ivme import errors
from ivme.errors import IvmeError
from ivme.hardware.threads import LIBRARY_VARIABLES
from ivme.measure.clock import Clock, SystemClock
from ivme.serve.channel import Channel, ChannelClosed, Message

MEMBER_PROCESS = "ivme.serve.member_process"
OPEN_TIMEOUT_S = 300.0  # to load a model
TRANSFER_S = 1.0  # for a short message that is there, or that there is room for
FIRST_PAUSE_S = 0.1
MOST_PAUSE_S = 30.0
STEADY_S = 60.0  # after this long without dying the pauses start anew

logger = logging.getLogger("ivme.serve")


class MemberDownError(IvmeError):
    """The process that holds a model is not there; it is being started again."""


class MemberBusyError(IvmeError):
    """The process is answering another caller, whom this one did not want to wait for."""


class MemberHungError(MemberDownError):
    """The process did not answer in time and was ended; asked again it may hang again."""


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
        self._has_ended = False  # once, or could not be started
        self._closing = threading.Event()
        self._exchanging = threading.Lock()
        self._changed = threading.Condition()
        self._watcher = threading.Thread(target=self._keep_alive, name=f"ivme-{name}", daemon=True)

    @property
    def is_ready(self) -> bool:
        """Whether it can be called."""
        return self.down_reason is None

    def start(self) -> None:
        """Start the process, which loads its model; a second call does nothing."""
        if self._watcher.ident is None:
            self._watcher.start()

    def wait_until_ready(self, timeout_s: float | None = None) -> None:
        """Wait until it can be called, or has ended once.

        Raises:
            IvmeError: it cannot load its model, for the reason that it gave.
            MemberDownError: it ended, which is tried again; or not in time, or closed.
        """
        with self._changed:
            self._changed.wait_for(self._is_settled, timeout_s)
            if self._opening_error is not None:
                raise self._opening_error
            if not self.is_ready:
                raise MemberDownError(str(self.down_reason))

    @property
    def is_idle(self) -> bool:
        """Whether it can be called and nobody else does."""
        return self.is_ready and not self._exchanging.locked()

    @contextmanager
    def calling(self, *, waits: bool = True) -> Iterator[Channel]:
        """Give the channel for one exchange; a process that fails in it is ended.

        waits: for the exchange of another caller to end.

        Raises:
            MemberBusyError: another caller is in the middle of one.
            MemberDownError: it is down, or died meanwhile.
            MemberHungError: it did not read or answer in time.
        """
        if not self._exchanging.acquire(blocking=waits):
            raise MemberBusyError(f"{self.name} answers another caller")
        try:
            with self._changed:
                process, channel = self._process, self._channel
                if process is None or channel is None or not self.is_ready:
                    raise MemberDownError(self.down_reason or f"{self.name} is starting")
            try:
                yield channel
            except ChannelClosed as error:
                raise MemberDownError(self._end(process, "died while it answered")) from error
            except TimeoutError as error:
                reason = f"did not answer within {self._call_timeout_s:g} s"
                raise MemberHungError(self._end(process, reason)) from error
            except BaseException:  # left half way: what came next would be the rest of its answer
                self._end(process, "was interrupted")
                raise
        finally:
            self._exchanging.release()

    def call(self, content: Mapping[str, Any], arrays: Mapping[str, Any] | None = None) -> Message:
        """Return the answer to one message.

        Raises:
            MemberDownError: it is down, or died meanwhile.
            MemberHungError: it did not read or answer in time.
            IvmeError: what it says went wrong.
        """
        with self.calling() as channel:
            channel.send(content, arrays, timeout_s=self._call_timeout_s)
            answer = channel.receive(self._call_timeout_s)
        raise_told_error(answer.content.get("error"))
        return answer

    async def call_soon(self, content: Mapping[str, Any]) -> Message:
        """Return the answer to one message, waited for on the event loop; see `call`.

        For short messages: what is sent must fit into the socket's buffer.

        Raises:
            MemberBusyError: another caller is in the middle of an exchange.
        """
        with self.calling(waits=False) as channel:
            channel.send(content, timeout_s=TRANSFER_S)
            await channel.until_pending(self._call_timeout_s)
            answer = channel.receive(TRANSFER_S)
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
        return self.is_ready or self._has_ended or self._closing.is_set()

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
        try:
            self._process, channel = _spawn(self.name, self._threads)
        except OSError as error:  # no memory, processes or descriptors left: some may be later
            self._process = None
            self._kill_reason = f"cannot be started ({error.strerror or error})"
            return False
        self._channel = channel
        try:
            channel.send(self._opening, timeout_s=OPEN_TIMEOUT_S)
            answer = channel.receive(OPEN_TIMEOUT_S).content
            raise_told_error(answer.get("error"))
        except ChannelClosed:
            self._shut()
            return False
        except TimeoutError:
            self._kill_reason = f"did not load within {OPEN_TIMEOUT_S:g} s"
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
            self._opening_error = error

    def _note_end(self) -> None:
        status = 0 if self._process is None else self._process.wait()
        reason = self._kill_reason or _describe_exit(status)
        with self._changed:
            self._has_ended = True
            if not self._closing.is_set():
                self.down_reason = f"{self.name} {reason}; it is being started again"
                logger.warning(self.down_reason)
            self._changed.notify_all()
        self._shut()

    def _end(self, process: "subprocess.Popen[bytes]", reason: str) -> str:
        """Kill a process, whose watcher starts the next; return what callers are told."""
        with self._changed:
            if self._process is process and self.is_ready:
                self._kill_reason = reason
                self.down_reason = f"{self.name} {reason}; it is being started again"
        process.kill()
        return self.down_reason or f"{self.name} {reason}"

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


def raise_told_error(told: Mapping[str, str] | None) -> None:
    """Raise the error that a process reported, as the class that it was there."""
    if told is not None:
        raise told_error(told)


def told_error(told: Mapping[str, str]) -> IvmeError:
    """Return the error that a process reported, as the class that it was there."""
    kind = getattr(errors, told["type"], IvmeError)
    is_ours = isinstance(kind, type) and issubclass(kind, IvmeError)
    return kind(told["message"]) if is_ours else IvmeError(told["message"])


def _spawn(name: str, threads: int | None) -> tuple["subprocess.Popen[bytes]", Channel]:
    """Return a new process and our end of the connection to it; name: to be seen by `ps`.

    Raises:
        OSError: the system has no room for it.
    """
    environment = dict(os.environ)
    if threads is not None:
        environment.update(dict.fromkeys(LIBRARY_VARIABLES, str(threads)))
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", MEMBER_PROCESS, str(theirs.fileno()), name],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # Ctrl-C is for the server, which ends them in order. A session of their own would
                # keep that off, too, but Linux compares niceness within a session alone.
                process_group=0,
                env=environment,
            )
        except OSError:
            ours.close()
            raise
    return process, Channel(ours)


def _has_descriptor(stream: Any) -> bool:
    try:
        return isinstance(stream.fileno(), int)
    except (AttributeError, OSError, ValueError):
        return False


def _describe_exit(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed (SIGKILL: by hand, or because memory ran out)"
    if status < 0:
        return f"was ended by {_signal_name(-status)}"
    return f"left with exit status {status}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have none
        return f"signal {number}"
