"""Where a long prediction stands, kept beside its output, so that it goes on after any end.

The output grows chunk by chunk. After each, a small file says how far input and output have come,
with checksums of both; what the output holds beyond that is of a chunk that was cut short.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from ivme.errors import IvmeError, UsageError
from ivme.tune.rows import Position
from ivme.whole_file import write_json

BLOCK_BYTES = 2**20
START = Position()
OF_NOTHING = hashlib.sha256().hexdigest()


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far a prediction has come."""

    job: dict[str, Any]  # what must be the same for it to go on: plan, input, column, format
    position: Position = START  # in the input
    input_sha256: str = OF_NOTHING  # of all bytes before the position
    output_bytes: int = 0
    output_sha256: str = OF_NOTHING
    rows: int = 0
    bad_rows: int = 0


class ResumableOutput:
    """An output file that grows in whole chunks; use it in a `with` block.

    `standing` says where it stands, also right after opening, when an earlier run goes on. A run
    that is refused before its first chunk leaves nothing behind.

    Raises:
        UsageError: the file is there and not of such a run, was changed or deleted since, or
            cannot be written.
    """

    def __init__(self, path: Path, job: dict[str, Any], *, overwrite: bool) -> None:
        self.path = path
        self.standing_path = path.with_name(path.name + ".progress")
        self.standing = Standing(job=job)
        if overwrite:
            self.standing_path.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        self.is_resumed = self.standing_path.exists()
        if self.is_resumed:
            self.standing = self._read_standing(job)
            if not path.exists():
                raise UsageError(
                    f"{path} was begun and is gone; restore it, or add --overwrite to start anew"
                )
        elif path.exists():
            raise UsageError(
                f"{path} exists, and no run that goes on; name another file, or add --overwrite"
            )
        self._digest = hashlib.sha256()
        with self._telling_why():
            self._file: BinaryIO = path.open("r+b" if self.is_resumed else "xb")
            if self.is_resumed:
                self._check_output()
            else:
                self._begin()

    def __enter__(self) -> "ResumableOutput":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(OSError):  # of a full disk, which `add` told of
            self._file.close()
        if kind is not None and issubclass(kind, IvmeError) and not self.standing.output_bytes:
            self.path.unlink(missing_ok=True)
            self.standing_path.unlink(missing_ok=True)

    def add(
        self, content: str, position: Position, input_sha256: str, *, rows: int, bad_rows: int
    ) -> None:
        """Write a chunk and remember it; position and checksum: of the input behind it."""
        encoded = content.encode("utf-8", "surrogatepass")
        with self._telling_why():
            self._file.write(encoded)
            self._file.flush()
            os.fsync(self._file.fileno())
        self._digest.update(encoded)
        self.standing = replace(
            self.standing,
            position=position,
            input_sha256=input_sha256,
            output_bytes=self.standing.output_bytes + len(encoded),
            output_sha256=self._digest.hexdigest(),
            rows=self.standing.rows + rows,
            bad_rows=self.standing.bad_rows + bad_rows,
        )
        with self._telling_why():
            write_json(self.standing_path, asdict(self.standing))

    def finish(self) -> None:
        """Say that all is done: nothing is left to go on with."""
        self.standing_path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _telling_why(self) -> Iterator[None]:
        """Turn what the system says, as on a full disk, into an error with a way to go on."""
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"cannot write {self.path}: {error.strerror or error}; make room, and give the "
                "same command again: it goes on where the output ends"
            ) from error

    def _begin(self) -> None:
        """Write the first standing; without it no run could go on with the empty output."""
        try:
            write_json(self.standing_path, asdict(self.standing))
        except BaseException:
            self._file.close()
            self.path.unlink(missing_ok=True)
            raise

    def _read_standing(self, job: dict[str, Any]) -> Standing:
        try:
            content = json.loads(self.standing_path.read_text(encoding="utf-8"))
            standing = Standing(**{**content, "position": Position(**content["position"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(
                f"{self.standing_path} is damaged ({error}); add --overwrite to start anew"
            ) from error
        for name, value in job.items():
            if standing.job.get(name) != value:
                raise UsageError(
                    f"{self.path} was begun with {name}={standing.job.get(name)!r}, not {value!r}; "
                    "name another file, or add --overwrite to start anew"
                )
        return standing

    def _check_output(self) -> None:
        """Compare what was written with its checksum, and drop a chunk that was cut short."""
        left = self.standing.output_bytes
        while left and (block := self._file.read(min(left, BLOCK_BYTES))):
            self._digest.update(block)
            left -= len(block)
        if left or self._digest.hexdigest() != self.standing.output_sha256:
            self._file.close()
            raise UsageError(
                f"{self.path} was changed since it was begun; name another file, or add "
                "--overwrite to start anew"
            )
        self._file.truncate(self.standing.output_bytes)
        self._file.seek(self.standing.output_bytes)
