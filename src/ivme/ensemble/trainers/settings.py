"""What is common to both trainers: sizes and penalties of the members."""

from dataclasses import dataclass

from ivme.errors import UsageError

MEMBERS = ("DRF", "GBM", "GLM")


@dataclass(frozen=True, kw_only=True)
class MemberSettings:
    """Sizes and penalties of the tree and linear members.

    penalty: of the linear member, relative to the summed loss. l1_share: the share of its
    elastic net that is absolute values. threads: while training.
    """

    forest_trees: int = 200
    forest_depth: int = 20
    boosting_trees: int = 200
    boosting_depth: int = 5
    learning_rate: float = 0.06
    penalty: float = 0.3
    l1_share: float = 0.0
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        counts = ("forest_trees", "forest_depth", "boosting_trees", "boosting_depth", "threads")
        for name in counts:
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}; expected 1 or more")
        if not (0 < self.learning_rate <= 1 and self.penalty > 0 and 0 <= self.l1_share <= 1):
            raise UsageError(
                f"learning_rate={self.learning_rate}, penalty={self.penalty}, "
                f"l1_share={self.l1_share}; expected 0 < learning_rate <= 1, penalty > 0 and "
                "0 <= l1_share <= 1"
            )


@dataclass(frozen=True, kw_only=True)
class H2OPlace:
    """Where H2O runs: a cluster by its URL, or one that is started here and stopped afterwards.

    threads, memory_bytes: of the cluster that is started.
    """

    url: str | None = None
    threads: int = 1
    memory_bytes: int = 2 * 2**30
