"""Labels: what a file calls the classes, matched to what the model calls them."""

from collections.abc import Sequence

from ivme.errors import UsageError

_MOST_SHOWN = 10


def match_labels(given: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return each given label as the model calls it.

    known: the model's labels, in the order of its outputs. A file may use the model's own names,
    in any case, or the numbers of its outputs from 0.

    Raises:
        UsageError: the file's labels are others; the message names both sets.
    """
    by_name = {name.casefold(): name for name in known}
    by_number = {str(number): name for number, name in enumerate(known)}
    for table in (by_name, by_number):
        if all(label.strip().casefold() in table for label in given):
            return tuple(table[label.strip().casefold()] for label in given)
    raise UsageError(
        f"the labels in the file are {_shown(sorted(set(given)))}, those of the model "
        f"{_shown(known)}: give a column with the model's names, or with the numbers of its "
        f"outputs, 0 to {len(known) - 1}"
    )


def _shown(labels: Sequence[str]) -> str:
    names = ", ".join(repr(label) for label in labels[:_MOST_SHOWN])
    more = len(labels) - _MOST_SHOWN
    return f"{names} and {more} more" if more > 0 else names
