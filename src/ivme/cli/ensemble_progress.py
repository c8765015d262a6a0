"""Progress of the commands on ensembles: a line that changes, or lines with the time."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ivme.cli.printing import notices

Tell = Callable[[str], None]


@contextmanager
def changing_line() -> Iterator[Tell]:
    """Give a function that shows a line beside a spinner, in place of the one before it."""
    from rich.markup import escape

    with notices().status("starting") as status:
        yield lambda line: status.update(escape(line))


def timed_lines(clock: Callable[[], float] = time.monotonic) -> Tell:
    """Return a function that prints each line behind the seconds since now.

    Counts that run, as "Running BERT... 128 of 996", are left out but for the first.
    """
    start, shown = clock(), set[str]()

    def tell(line: str) -> None:
        kind = re.sub(r" [\d,]+ of [\d,]+$", "", line)
        if kind == line or kind not in shown:
            notices().print(f"{clock() - start:6.0f} s  {kind}", markup=False, soft_wrap=True)
        shown.add(kind)

    return tell
