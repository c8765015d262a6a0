"""What a bench is asked to do, as plain values."""

from dataclasses import asdict, dataclass
from typing import Any

from ivme.errors import UsageError
from ivme.hardware.threads import check_threads
from ivme.models.loading import DTYPES
from ivme.models.workloads import corpus_workload, read_workload

CORPUS = "corpus"  # in place of a file: the built-in corpus
CORPUS_TEXTS = 100  # of it, unless a limit is given


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """Texts to run: a file, or the built-in corpus.

    file: path, or "corpus"; column: of a csv, tsv or jsonl file; limit: texts to take at most.
    """

    file: str
    column: str | None = None
    limit: int | None = None

    def read(self, seed: int) -> tuple[str, ...]:
        """Return the texts; seed: of the choice from the corpus.

        Raises:
            WorkloadError: the file cannot be read, or has no such column.
        """
        if self.file == CORPUS:
            return corpus_workload(self.limit or CORPUS_TEXTS, seed=seed).texts
        return read_workload(self.file, column=self.column, limit=self.limit).texts


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """A sweep: every engine with every batch size, length, dtype and device.

    Raises UsageError where a value is out of range.
    """

    model: str
    engines: tuple[str, ...] = ("transformers",)
    versus: str | None = None  # an engine to compare the first one with, paired
    batch_sizes: tuple[int, ...] = (1, 8)
    token_counts: tuple[int, ...] = (32, 128, 512)  # lengths of made-up texts; unless `texts`
    texts: TextSource | None = None
    dtypes: tuple[str, ...] = ("float32",)
    devices: tuple[str | None, ...] = (None,)  # None: the fastest that is there
    attention: str | None = None
    kind: str | None = None
    order: str = "given"  # as ivme.engines.batching.Batching takes it, like the next
    padding: str = "dynamic"
    threads: int | None = None  # None: the cores that may be used
    max_length: int | None = None  # tokens; longer texts are cut
    new_tokens: int = 16  # generated tokens a text
    budget_s: float = 3.0  # seconds of calls a configuration
    compare_budget_s: float = 30.0  # seconds a paired comparison
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_sizes", "token_counts"):
            _check_positive(name, *getattr(self, name))
        _check_positive("new_tokens", self.new_tokens)
        check_threads(*([] if self.threads is None else [self.threads]))
        _check_positive("max_length", *([] if self.max_length is None else [self.max_length]))
        for name in ("budget_s", "compare_budget_s"):
            if not getattr(self, name) > 0:  # nor is NaN
                raise UsageError(f"{name}={getattr(self, name)}; expected more than 0")
        for dtype in self.dtypes:  # before the first of them is measured
            if dtype not in DTYPES:
                raise UsageError(f"dtype={dtype!r}; expected one of {', '.join(DTYPES)}")
        if self.versus in self.engines:
            raise UsageError(
                f"--versus {self.versus} compares {self.versus} with itself; name another engine"
            )

    def as_settings(self) -> dict[str, Any]:
        """Return the configuration as a record keeps it."""
        return asdict(self)


def _check_positive(name: str, *counts: int) -> None:
    for count in counts:
        if count < 1:
            raise UsageError(f"{name}={count}; expected 1 or more")
