"""What a search is asked to do, as plain values."""

from dataclasses import asdict, dataclass
from typing import Any

from ivme.bench.configuration import CORPUS, TextSource
from ivme.errors import UsageError
from ivme.hardware.threads import check_threads

OBJECTIVES = {
    "latency": "seconds until the answer to one text",
    "throughput": "texts a second over all the given texts, in batches",
}


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """A search for the fastest variant that keeps quality.

    engines: names, or NAME:PRECISION; empty: all that are registered. name: what the record and the
    plan call the model, for a folder that will be gone; None: as it is given. tokens: time made-up
    texts of exactly so many tokens in place of the given ones; quality is judged on the given ones.

    Raises UsageError where a value is out of range.
    """

    model: str
    texts: TextSource
    labels: str | None = None  # column with the truth; classifiers only
    metric: str = "accuracy"  # or "f1", where there are labels
    max_quality_loss: float = 0.005
    objective: str = "latency"
    budget_s: float = 300.0
    engines: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()  # empty: all usable cores, and half of them
    batch_sizes: tuple[int, ...] = (32,)  # sorted by length, beside those by cost; throughput
    tokens: int | None = None
    max_length: int | None = None  # tokens; longer texts are cut
    new_tokens: int = 16  # generated tokens a text; generating models only
    max_memory_bytes: int | None = None
    allow_truncation: int | None = None  # tokens to cut texts to, if memory runs out otherwise
    device: str | None = None  # None: the fastest that is there
    kind: str | None = None
    seed: int = 0
    name: str | None = None

    def __post_init__(self) -> None:
        from ivme.tune.quality import check_budget

        check_budget(self.max_quality_loss)
        if self.objective not in OBJECTIVES:
            raise UsageError(
                f"objective={self.objective!r}; expected one of {', '.join(OBJECTIVES)}"
            )
        if self.labels is not None and self.texts.file == CORPUS:
            raise UsageError("labels need a file that has them; name it with --texts FILE")
        if not self.budget_s > 0:  # nor is NaN
            raise UsageError(f"a budget of {self.budget_s} s; expected more than 0")
        check_threads(*self.threads)
        counts = {
            "batch sizes": self.batch_sizes,
            "tokens": self._given(self.tokens),
            "max_length": self._given(self.max_length),
            "new_tokens": (self.new_tokens,),
            "max_memory_bytes": self._given(self.max_memory_bytes),
            "allow_truncation": self._given(self.allow_truncation),
        }
        for name, values in counts.items():
            if any(value < 1 for value in values):
                raise UsageError(f"{name}={', '.join(map(str, values))}; expected 1 or more")

    @staticmethod
    def _given(value: int | None) -> tuple[int, ...]:
        return () if value is None else (value,)

    def as_settings(self) -> dict[str, Any]:
        """Return the configuration as a record keeps it, with the model as it is called."""
        return {**asdict(self), "model": self.name or self.model}
