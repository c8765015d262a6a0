"""Progress of the commands on ensembles: one line on the terminal that changes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ivme.cli.printing import notices


@contextmanager
def changing_line() -> Iterator[Callable[[str], None]]:
    """Give a function that shows a line beside a spinner, in place of the one before it."""
    from rich.markup import escape

    with notices().status("starting") as status:
        yield lambda line: status.update(escape(line))
