"""One file of token ids, mapped into memory, with a checksum of each block.

A block is checked when it is first read, so that opening a file costs the same at any size, and
damage is found before a model learns from it.
"""

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mm_rec.errors import DataError

BLOCK_BYTES = 1 << 16
SUMS_DTYPE = "<u4"


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the narrowest dtype that holds every id, little-endian."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


class TokenFile:
    """The tokens of many documents, one after the other.

    Attributes:
        path: The file.
        text_bytes: Bytes of UTF-8 that the tokens stand for.
    """

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        """Open the file that `describe_tokens` described.

        Raises DataError if it, or the file of its checksums, is not what was written.
        """
        self.path = path
        self.text_bytes = int(description["text_bytes"])
        self._dtype = np.dtype(description["dtype"])
        self._length = int(description["tokens"])
        self._sums = _read_sums(path, description["checksum_of_checksums"])
        self._is_checked = np.zeros(len(self._sums), dtype=bool)
        expected = self._length * self._dtype.itemsize
        size = path.stat().st_size if path.is_file() else 0
        if size != expected:
            raise _damaged(path, f"it has {size} bytes instead of {expected}")
        self._tokens = (
            np.memmap(path, dtype=self._dtype, mode="r") if size else np.empty(0, self._dtype)
        )

    def __len__(self) -> int:
        """Return the number of tokens."""
        return self._length

    @property
    def bytes_per_token(self) -> float:
        """Mean bytes of text a token; loss_nats / ln 2 / bytes_per_token is bits per byte."""
        return self.text_bytes / max(1, self._length)

    def tokens(self, start: int, stop: int) -> np.ndarray:
        """Return the tokens from start to stop, [stop - start], a view of the file.

        Raises DataError if the blocks that hold them are damaged.
        """
        if not 0 <= start <= stop <= self._length:
            raise IndexError(f"tokens {start} to {stop} of a file of {self._length}")
        size = self._dtype.itemsize
        self._check(start * size // BLOCK_BYTES, -(-stop * size // BLOCK_BYTES))
        return self._tokens[start:stop]

    def verify(self) -> None:
        """Check the whole file now; raises DataError for damage."""
        self._is_checked[:] = False
        self._check(0, len(self._sums))

    def _check(self, first: int, behind: int) -> None:
        if self._is_checked[first:behind].all():
            return
        data = self._tokens.view(np.uint8)
        for block in range(first, behind):
            part = data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
            if zlib.crc32(part.data) != self._sums[block]:
                raise _damaged(self.path, f"bytes from {block * BLOCK_BYTES} on were changed")
            self._is_checked[block] = True


class TokenWriter:
    """Appends tokens to a file, and goes on where an interrupted writer was last safe."""

    def __init__(self, path: Path, dtype: np.dtype, tokens: int = 0, text_bytes: int = 0) -> None:
        """Open the file, and cut it behind its first `tokens` tokens, which must be there."""
        self.path, self.dtype, self.tokens, self.text_bytes = path, dtype, tokens, text_bytes
        if not tokens:
            path.unlink(missing_ok=True)  # who still has the former file mapped keeps it
        self._file = path.open("r+b" if tokens else "wb")
        size = tokens * dtype.itemsize
        if os.fstat(self._file.fileno()).st_size < size:
            self._file.close()
            raise _damaged(path, f"fewer than {size} bytes are left of an interrupted preparation")
        self._file.truncate(size)
        self._file.seek(size)

    def append(self, ids: np.ndarray, text_bytes: int) -> None:
        """Write ids that stand for so many bytes of text."""
        self._file.write(ids.astype(self.dtype).tobytes())
        self.tokens += len(ids)
        self.text_bytes += text_bytes

    def make_safe(self) -> None:
        """Return when everything so far is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._file.close()


def describe_tokens(writer: TokenWriter) -> dict[str, Any]:
    """Return what TokenFile needs to know of a closed writer's file; write its checksums."""
    sums = []
    with writer.path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            sums.append(zlib.crc32(block))
    data = np.asarray(sums, dtype=SUMS_DTYPE).tobytes()
    _sums_path(writer.path).write_bytes(data)
    return {
        "tokens": writer.tokens,
        "text_bytes": writer.text_bytes,
        "dtype": writer.dtype.str,
        "checksum_of_checksums": zlib.crc32(data),
    }


def _read_sums(path: Path, expected: int) -> np.ndarray:
    sums_path = _sums_path(path)
    try:
        data = sums_path.read_bytes()
    except OSError as error:
        raise _damaged(sums_path, f"it cannot be read ({error.strerror})") from error
    if zlib.crc32(data) != expected:
        raise _damaged(sums_path, "it was changed")
    return np.frombuffer(data, dtype=SUMS_DTYPE)


def _sums_path(path: Path) -> Path:
    return path.with_suffix(".crc32")


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged: {reason}; delete {path.parent} and prepare it again.")
