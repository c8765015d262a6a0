"""A plan as the server sees it: its processes, what it answers, and how long texts are to it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ivme.engines.batching import Batching
from ivme.engines.protocol import Prediction
from ivme.errors import IvmeError, UsageError
from ivme.models.interface import TOKENIZER_FOLDER
from ivme.serve.channel import Message
from ivme.serve.configuration import ServeConfig
from ivme.serve.process_pool import ProcessPool
from ivme.serve.served_model import BATCH_SIZE, USUAL_BATCH_TOKENS
from ivme.serve.supervision import (
    MemberDownError,
    MemberHungError,
    MemberProcess,
    raise_told_error,
    told_error,
)
from ivme.serve.token_estimates import LearnedEstimate, TokenCount, TokenEstimate
from ivme.tune.plan import Plan, read_plan

NAME = "model"  # of a plan's only member


class PlanModel:
    """The processes of one plan, behind one call.

    Texts whose process dies are run again when a process is ready again, a lone one twice at most;
    what took too long is not: nobody waits for it any more, and it may well take too long again.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.plan = read_plan(config.folder)
        if config.device not in ("auto", self.plan.device):
            raise UsageError(
                f"device={config.device!r}, but this plan is for {self.plan.device!r}; leave "
                "--device out, or tune the model there"
            )
        self.kind = self.plan.kind
        self.slots = config.workers + 1  # one batch more waits at the door: no process idles
        batching = self.plan.variant.batching
        limit = config.max_batch_tokens or batching.max_batch_tokens or USUAL_BATCH_TOKENS
        self.batching = Batching(
            batch_size=BATCH_SIZE,
            max_batch_tokens=limit,
            order="sorted",
            streams=batching.streams,
        )
        self.estimate: TokenEstimate = _estimate_of(self.plan, config.folder)
        self.tokens_read = 0
        self._wait_s = config.timeout_s
        opening = {
            "open": "plan",
            "folder": str(config.folder.absolute()),
            "threads": config.threads,
            "max_batch_tokens": limit,
        }
        threads = config.threads or self.plan.variant.threads * batching.streams
        self.pool = ProcessPool(
            [
                MemberProcess(
                    NAME if config.workers == 1 else f"{NAME} {number}",
                    opening,
                    threads=threads,
                    call_timeout_s=config.timeout_s,
                )
                for number in range(1, config.workers + 1)
            ]
        )

    def start(self) -> None:
        """Start the processes and return."""
        self.pool.start()

    def wait_until_ready(self) -> None:
        """Wait until each has loaded or failed once; raises IvmeError if none works."""
        self.pool.wait_until_ready()

    @property
    def is_ready(self) -> bool:
        """Whether texts can be answered now."""
        return self.pool.is_ready

    @property
    def labels(self) -> list[str]:
        """A classifier's, in the order of its probabilities."""
        return list(self.pool.description.get("labels", ()))

    def run(self, texts: Sequence[str]) -> list[Prediction | IvmeError]:
        """Return a prediction or an error for each text.

        Raises:
            MemberDownError: two processes died of it, one hung, or none is ready in time.
        """
        answer = self._exchange({"texts": list(texts)})
        self._learn(texts, answer)
        return unpack_answers(answer, len(texts))

    async def answer_soon(self, text: str) -> Prediction | IvmeError | None:
        """Return what `run` would of one text, asked for on the event loop; None: call `run`.

        Raises:
            MemberHungError: the process did not answer in time; asked again it may hang again.
            IvmeError: what it says went wrong.
        """
        with self.pool.taking_idle() as process:
            if process is None:
                return None
            try:
                answer = await process.call_soon({"texts": [text]})
            except MemberHungError:
                raise
            except MemberDownError:
                return None
        self._learn([text], answer)
        return unpack_answers(answer, 1)[0]

    def stream(
        self, text: str, tell: Callable[[str], None], is_wanted: Callable[[], bool]
    ) -> Prediction:
        """Return the prediction of a text after telling its pieces as they are generated.

        is_wanted: asked while it waits for a process, and after each piece; once it says no, the
        model stops.

        Raises:
            MemberDownError: the process died; what was generated until then is lost.
            IvmeError: the model cannot read the text, or nobody wanted it any more.
        """
        with self.pool.taking(self._wait_s, is_wanted) as process, process.calling() as channel:
            channel.send({"texts": [text], "stream": True}, timeout_s=self._wait_s)
            was_wanted = True
            while "piece" in (message := channel.receive(self._wait_s)).content:
                tell(message.content["piece"])
                if was_wanted and not is_wanted():
                    was_wanted = False
                    channel.send({"stop": True}, timeout_s=self._wait_s)
        raise_told_error(message.content.get("error"))
        [answer] = unpack_answers(message, 1)
        if isinstance(answer, IvmeError):
            raise answer
        self._learn([text], message)
        return answer

    def info(self) -> Mapping[str, Any]:
        """Return what clients should know of it."""
        labels = self.labels
        return {
            "kind": self.kind,
            "model": self.plan.reference,
            "labels": [{"label": str(at), "name": name} for at, name in enumerate(labels)],
            "members": [NAME],
            "engine": self.plan.variant.engine,
            "precision": self.pool.description.get("precision", self.plan.variant.precision),
            "max_tokens": self.plan.max_length,
            "notes": list(self.pool.description.get("notes", self.plan.notes)),
        }

    def members_down(self) -> Mapping[str, str]:
        """Return why one or more of the processes cannot answer now, under the model's name."""
        reasons = [one.down_reason for one in self.pool.processes if one.down_reason]
        return {NAME: "; ".join(reasons)} if reasons else {}

    def member_restarts(self) -> Mapping[str, int]:
        """Return how often a process was started again, under the model's name."""
        return {NAME: sum(one.restarts for one in self.pool.processes)}

    def close(self) -> None:
        """End the processes."""
        self.pool.close()

    def _exchange(self, content: Mapping[str, Any]) -> Message:
        try:
            with self.pool.taking(self._wait_s) as process:
                return process.call(content)
        except MemberHungError:
            raise
        except MemberDownError:
            with self.pool.taking(self._wait_s) as process:
                return process.call(content)

    def _learn(self, texts: Sequence[str], answer: Message) -> None:
        tokens = answer.content["tokens"]
        self.tokens_read += tokens
        self.estimate.learn(texts, tokens)


def unpack_answers(message: Message, count: int) -> list[Prediction | IvmeError]:
    """Return the answer to each of `count` texts; see held_plan.pack_answers.

    Arrays are copied: an answer that is kept must not keep those of its whole batch.
    """
    content, arrays = message.content, message.arrays
    errors = {int(at): told_error(one) for at, one in content["errors"].items()}
    probabilities, vectors = arrays.get("probabilities"), arrays.get("vectors")
    answers: list[Prediction | IvmeError] = []
    at_good = 0
    for at in range(count):
        if at in errors:
            answers.append(errors[at])
            continue
        answers.append(
            Prediction(
                label=content["labels"][at_good],
                text=content["texts"][at_good],
                probabilities=None if probabilities is None else probabilities[at_good].copy(),
                vector=None if vectors is None else vectors[at_good].copy(),
            )
        )
        at_good += 1
    return answers


def _estimate_of(plan: Plan, folder: Path) -> TokenEstimate:
    if plan.tokenizer == "file" and plan.max_length is not None:
        return TokenCount(folder / TOKENIZER_FOLDER, plan.max_length)
    return LearnedEstimate(plan.max_length)
