"""Batches: which tokens a training step sees is a pure function of the step.

Every epoch goes through all windows once, in its own order and from its own offset. Nothing is
drawn in advance and nothing is remembered, so a run may go on at any step at no cost.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mm_rec.data.mapped_tokens import TokenFile
from mm_rec.data.permutation import mix, permute
from mm_rec.errors import ConfigError, DataError
from mm_rec.ops.cross_entropy import IGNORED_LABEL

Batch = tuple[Tensor, Tensor]


class Batches(Protocol):
    """Anything that knows the batch of a step."""

    def batch(self, step: int) -> Batch:
        """Return input_ids and shift_labels of a step, each [B, T] of int64."""


class BatchSource:
    """Windows of `seq_len` tokens, in a seeded order that differs from epoch to epoch.

    Args:
        token_file: Where the tokens are.
        batch_size: Windows in a batch of this rank.
        seq_len: Tokens in a window.
        seed: Of the order.
        rank: Which of `world_size` processes this is. Together they read what one process with
            world_size times the batch size would: rank r has its r-th slice.
        world_size: Number of processes.

    Attributes:
        windows_per_epoch: Number of windows in one pass over the data.

    Raises:
        DataError: If the file holds less than one window and the token behind it.
        ConfigError: For sizes, a seed or a rank that are not allowed.
    """

    def __init__(
        self,
        token_file: TokenFile,
        batch_size: int,
        seq_len: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _check_sizes(batch_size, seq_len, rank, world_size)
        if len(token_file) <= seq_len:
            raise DataError(
                f"{token_file.path} holds {len(token_file)} tokens; a window of seq_len={seq_len} "
                f"needs {seq_len + 1}: use more text, or a shorter window."
            )
        if not 0 <= seed < 1 << 63:
            raise ConfigError(f"seed={seed}; expected 0 to {(1 << 63) - 1}.")
        self.token_file, self.batch_size, self.seq_len = token_file, batch_size, seq_len
        self.rank, self.world_size = rank, world_size
        self._seed = np.uint64(seed)
        # One window fewer than fit leaves room to begin anywhere in the first one.
        fitting = (len(token_file) - 1) // seq_len
        self.windows_per_epoch = max(1, fitting - 1)
        self._slack = len(token_file) - self.windows_per_epoch * seq_len

    def starts(self, step: int) -> np.ndarray:
        """Return where in the file the windows of a step begin, [B]."""
        if step < 0:
            raise ConfigError(f"step={step}; expected 0 or more.")
        first = (step * self.world_size + self.rank) * self.batch_size
        numbers = np.arange(first, first + self.batch_size, dtype=np.uint64)
        epochs, positions = np.divmod(numbers, np.uint64(self.windows_per_epoch))
        keys = mix(mix(self._seed) ^ epochs)
        windows = permute(positions, self.windows_per_epoch, keys)
        offsets = mix(~keys) % np.uint64(self._slack)
        return (windows * np.uint64(self.seq_len) + offsets).astype(np.int64)

    def batch(self, step: int) -> Batch:
        """Return input_ids and shift_labels of a step, each [B, T] of int64."""
        rows = np.empty((self.batch_size, self.seq_len + 1), dtype=np.int64)
        for row, start in zip(rows, self.starts(step).tolist(), strict=True):
            row[:] = self.token_file.tokens(start, start + self.seq_len + 1)
        tokens = torch.from_numpy(rows)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


class PrefetchingSource:
    """Reads the next batches of a source in threads, while the present one is worked on.

    Worth it only where reading waits for a disk: from memory a batch takes tens of microseconds.
    """

    def __init__(self, source: Batches, workers: int) -> None:
        if workers < 1:
            raise ConfigError(f"workers={workers}; expected at least 1.")
        self._source, self._workers = source, workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="batches")
        self._ahead: deque[tuple[int, Future[Batch]]] = deque()

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; fastest if steps are asked for in order."""
        while self._ahead and self._ahead[0][0] != step:
            self._ahead.popleft()[1].cancel()
        first = self._ahead[-1][0] + 1 if self._ahead else step
        for later in range(first, step + self._workers + 1):
            self._ahead.append((later, self._threads.submit(self._source.batch, later)))
        return self._ahead.popleft()[1].result()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    def __enter__(self) -> "PrefetchingSource":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def evaluation_batches(
    token_file: TokenFile, batch_size: int, seq_len: int, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Yield input_ids and shift_labels, [B, T] each, in which every token but the first is a label.

    Windows follow each other without overlap, and each begins anew, without what came before. All
    batches have the same shape: labels of -100 fill the last ones up. Of several ranks each has its
    share of the batches, and the number of their labels may differ: sum losses, not means.
    Raises DataError for a file of less than two tokens, ConfigError for sizes not allowed.
    """
    _check_sizes(batch_size, seq_len, rank, world_size)
    if len(token_file) < 2:
        raise DataError(f"{token_file.path} holds {len(token_file)} tokens; expected at least 2.")
    size = batch_size * seq_len
    for start in range(rank * size, len(token_file) - 1, world_size * size):
        tokens = token_file.tokens(start, min(start + size + 1, len(token_file)))
        inputs = np.zeros(size, dtype=np.int64)
        labels = np.full(size, IGNORED_LABEL, dtype=np.int64)
        inputs[: len(tokens) - 1], labels[: len(tokens) - 1] = tokens[:-1], tokens[1:]
        yield tuple(torch.from_numpy(a).view(batch_size, seq_len) for a in (inputs, labels))  # type: ignore[misc]


def _check_sizes(batch_size: int, seq_len: int, rank: int, world_size: int) -> None:
    sizes = {"batch_size": batch_size, "seq_len": seq_len, "world_size": world_size}
    for name, value in sizes.items():
        if value < 1:
            raise ConfigError(f"{name}={value}; expected at least 1.")
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank={rank}; expected 0 to {world_size - 1}.")
