"""Writing: a report in the format that its file name asks for."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ivme.errors import UsageError
from ivme.measure.records import Record, record_to_json
from ivme.report.building import build_document
from ivme.report.html import render_html
from ivme.report.markdown import render_markdown
from ivme.whole_file import write_whole

# The files of a report by their paths; the report itself comes last.
Files = Mapping[Path, str]


def write_report(records: Sequence[Record], output: Path) -> tuple[Path, ...]:
    """Write the report of the records and return the files written, the report itself last.

    output: .html for one self-contained page; .md for Markdown with its charts as SVG in a folder
    beside it, `<name>_files`; .json for the records themselves in one list.

    Raises:
        UsageError: no records, another suffix, or a place that cannot be written.
    """
    render = _renderer(output)
    if not records:
        raise UsageError("no records given; name one or more files that `ivme bench` wrote")
    files = render(records, output)
    for path, text in files.items():
        _write(path, text)
    return tuple(files)


def check_output(output: Path) -> None:
    """Raise UsageError, before any work, if no report can have this suffix."""
    _renderer(output)


def _renderer(output: Path) -> Callable[[Sequence[Record], Path], Files]:
    try:
        return _RENDERED_BY[output.suffix.lower()]
    except KeyError:
        allowed = ", ".join(_RENDERED_BY)
        raise UsageError(
            f"output={str(output)!r} ends in {output.suffix or 'no suffix'!r}; expected one of "
            f"{allowed}: name it report.html, for example"
        ) from None


def _html(records: Sequence[Record], output: Path) -> Files:
    return {output: render_html(build_document(records))}


def _markdown(records: Sequence[Record], output: Path) -> Files:
    folder = f"{output.stem}_files"
    text, charts = render_markdown(build_document(records), folder)
    beside = {output.with_name(folder) / name: chart for name, chart in charts.items()}
    return {**beside, output: text}


def _json(records: Sequence[Record], output: Path) -> Files:
    content = {"records": [json.loads(record_to_json(record)) for record in records]}
    return {output: json.dumps(content, indent=1, allow_nan=False) + "\n"}


def _write(path: Path, text: str) -> None:
    """Write the file; it is either the old one or the whole new one."""
    try:
        write_whole(path, text)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}; name a file that you may write"
        ) from error


_RENDERED_BY: dict[str, Callable[[Sequence[Record], Path], Files]] = {
    ".html": _html,
    ".md": _markdown,
    ".json": _json,
}
