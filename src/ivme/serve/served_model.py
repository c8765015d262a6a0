"""What the server asks of the model that it serves, be it a plan or an ensemble."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ivme.engines.batching import Batching
from ivme.errors import UsageError
from ivme.serve.configuration import ServeConfig
from ivme.serve.token_estimates import TokenEstimate

BATCH_SIZE = 64  # texts
SOON_CHARACTERS = 8_192  # of a text: a socket's buffer holds two, even if all are escaped in JSON
WARM_UP_S = 1.0  # that a process may spend on shapes of batches before it is ready
USUAL_BATCH_TOKENS = 2048  # padding counted; on processors larger batches gain next to nothing


class ServedModel(Protocol):
    """A model in processes of its own.

    `run` blocks, and is called from `slots` threads; `answer_soon` is called on the event loop.
    """

    kind: str  # "ensemble", or of a plan
    slots: int  # calls of `run` at a time
    batching: Batching  # which texts share a call; what runs them may cut them again
    estimate: TokenEstimate  # of the tokens of texts
    tokens_read: int  # of all texts until now

    def start(self) -> None:
        """Start the processes and return."""
        ...

    def wait_until_ready(self) -> None:
        """Wait until each has loaded or failed once; raises IvmeError if none works."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether texts can be answered now."""
        ...

    def run(self, texts: Sequence[str]) -> list[Any]:
        """Return an answer, or an exception, for each text."""
        ...

    async def answer_soon(self, text: str) -> Any | None:
        """Return the answer on a text without a thread between; None: `run` has to be called.

        Threads cost a lone text up to a millisecond. What is out of the ordinary is left to them:
        long texts, a process that is busy, down, or short of memory.
        """
        ...

    def info(self) -> Mapping[str, Any]:
        """Return what clients should know of it: kind, labels, members."""
        ...

    def members_down(self) -> Mapping[str, str]:
        """Return the reason for each member that cannot answer now."""
        ...

    def member_restarts(self) -> Mapping[str, int]:
        """Return how often each member was started again."""
        ...

    def close(self) -> None:
        """End the processes."""
        ...


def open_served_model(config: ServeConfig) -> ServedModel:
    """Return the model of the folder, not started.

    Raises:
        UsageError: the folder holds neither a plan nor an ensemble, or a damaged one.
    """
    from ivme.tune.plan import PLAN_FILE

    if (config.folder / PLAN_FILE).is_file():
        from ivme.serve.plan_model import PlanModel

        return PlanModel(config)
    if not config.folder.is_dir():
        raise UsageError(
            f"{config.folder} is no folder; give one that `ivme tune -o` or `ivme ensemble train "
            "-o` wrote"
        )
    from ivme.serve.ensemble_model import EnsembleModel

    return EnsembleModel(config)
