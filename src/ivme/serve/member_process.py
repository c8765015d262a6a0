"""A process that holds one model and answers messages: python -m ivme.serve.member_process FD NAME.

The first message says what to load: {"open": "plan", ...} or {"open": "group", ...}. The answer
describes it. After that each message is answered once, in order, until the other side is gone.
"""

import contextlib
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Protocol

from ivme.errors import IvmeError
from ivme.measure.memory_guard import is_out_of_memory
from ivme.serve.channel import Channel, ChannelClosed, Message

NICENESS = 5  # below the server, so that it accepts and refuses while models compute


class Held(Protocol):
    """A model in this process."""

    def describe(self) -> Mapping[str, Any]:
        """Return what the server should know of it, as JSON."""
        ...

    def answer(self, message: Message, channel: Channel) -> None:
        """Send the answer to a message: its last part, after any others."""
        ...


def hold(connection: socket.socket) -> None:
    """Load what the first message says, then answer until the connection is closed."""
    channel = Channel(connection)
    with contextlib.suppress(ChannelClosed):
        opening = channel.receive()
        try:
            held = open_held(opening.content)
        except Exception as error:
            channel.send({"error": tell_error(error)})
            return
        channel.send(held.describe())
        while True:
            message = channel.receive()
            try:
                held.answer(message, channel)
            except ChannelClosed:
                return
            except Exception as error:
                channel.send({"error": tell_error(error)})


def open_held(opening: Mapping[str, Any]) -> Held:
    """Return the model that an opening message names."""
    if opening["open"] == "plan":
        from ivme.serve.held_plan import HeldPlan

        return HeldPlan.load(opening)
    from ivme.serve.held_group import HeldGroup

    return HeldGroup.load(opening)


def tell_error(error: Exception) -> dict[str, str]:
    """Return an error as JSON; one that is not ours goes to the log, too."""
    if isinstance(error, IvmeError):
        return {"type": type(error).__name__, "message": str(error)}
    if is_out_of_memory(error):
        return {"type": "OutOfMemoryError", "message": "memory ran out"}
    traceback.print_exception(error)
    return {"type": "IvmeError", "message": f"the model failed ({type(error).__name__})"}


def main() -> None:
    """Run the process until the server is gone, or something ends it."""
    os.nice(NICENESS)
    hold(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
