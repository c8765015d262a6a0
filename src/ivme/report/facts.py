"""Facts: nested settings and machine data as rows of a table, formatted by their names' units."""

from collections.abc import Iterator, Mapping
from typing import Any

from ivme.report.document import Table
from ivme.report.formatting import MISSING, format_bytes, format_number, format_rate, format_seconds

_UNIT_SUFFIXES = {
    "_bytes_per_s": lambda value: format_rate(value, "B/s"),
    "_flop_per_s": lambda value: format_rate(value, "FLOP/s"),
    "_op_per_s": lambda value: format_rate(value, "OP/s"),
    "_bytes": format_bytes,
    "_s": format_seconds,
}


def fact_table(caption: str, facts: Mapping[str, Any]) -> Table:
    """Return the facts as a table of names and values; nested ones are named by their path."""
    return Table(caption=caption, columns=("Name", "Value"), rows=tuple(fact_rows(facts)))


def fact_rows(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and formatted value of every fact, depth first."""
    for name, value in facts.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from fact_rows(value, f"{path}: ")
        elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
            yield from fact_rows({f"{name} {i}": one for i, one in enumerate(value, 1)}, prefix)
        else:
            yield readable_name(path), format_fact(name, value)


def readable_name(name: str) -> str:
    """Return a field's name in words, its unit left out: "peak_memory_bytes" is "peak memory"."""
    suffix = _unit_suffix(name)
    return name.removesuffix(suffix).replace("_", " ") if suffix else name.replace("_", " ")


def format_fact(name: str, value: Any) -> str:
    """Return a value as text, in the unit that its name ends in."""
    if value is None or value == "" or value == [] or value == ():
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(format_fact(name, one) for one in value)
    if not isinstance(value, int | float):
        return str(value)
    suffix = _unit_suffix(name)
    if suffix:
        return _UNIT_SUFFIXES[suffix](value)
    return f"{value:,}" if isinstance(value, int) else format_number(value)


def _unit_suffix(name: str) -> str:
    return next((suffix for suffix in _UNIT_SUFFIXES if name.endswith(suffix)), "")
