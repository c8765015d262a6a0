"""An ensemble as the server sees it: a predictor here, its groups of members in processes."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from ivme.engines.batching import Batching
from ivme.ensemble.answers import Answer, LabelSet
from ivme.ensemble.ensemble_folder import TABULAR, EnsembleFolder
from ivme.ensemble.groups import MemberGroup
from ivme.ensemble.predictor import Predictor
from ivme.ensemble.running import Outcome, PlacedGroup, Scores, scores_of
from ivme.errors import IvmeError, UsageError
from ivme.models.interface import read_max_length
from ivme.serve.configuration import ServeConfig
from ivme.serve.process_pool import wait_for_loading
from ivme.serve.remote_group import RemoteGroup
from ivme.serve.served_model import BATCH_SIZE, USUAL_BATCH_TOKENS
from ivme.serve.supervision import MemberDownError, MemberProcess
from ivme.serve.token_estimates import LearnedEstimate, TokenEstimate
from ivme.tune.plan import read_plan

CALLS = 2  # of a predictor at a time: the faster transformer goes on while the slower ends a batch


@dataclass(frozen=True, kw_only=True)
class EnsembleAnswer:
    """The documented answer on one text, with details; complete if every member answered."""

    content: Mapping[str, Any]

    @property
    def is_complete(self) -> bool:
        """Whether it may be remembered."""
        return not self.content["details"]["members_down"]


class EnsembleModel:
    """Copies of an ensemble, as many as workers: each a predictor with a process for each group.

    A member whose process is down is left out of answers, and named, until it is back.
    """

    kind = "ensemble"

    def __init__(self, config: ServeConfig) -> None:
        self.folder = EnsembleFolder.read(config.folder, verify=False)
        self.slots = CALLS * config.workers
        self.batching = Batching(
            batch_size=BATCH_SIZE,
            max_batch_tokens=config.max_batch_tokens or USUAL_BATCH_TOKENS,
            order="sorted",
        )
        self._max_tokens = _most_tokens(self.folder)
        self.estimate: TokenEstimate = LearnedEstimate(self._max_tokens)  # members tell no counts
        self.tokens_read = 0
        self._config = config
        self._groups: dict[tuple[int, str], RemoteGroup] = {}
        self._starting = threading.Lock()
        self._has_started = False
        self._predictors = [self._predictor(number) for number in range(config.workers)]
        self._free: SimpleQueue[Predictor] = SimpleQueue()
        for predictor in CALLS * self._predictors:
            self._free.put(predictor)

    def start(self) -> None:
        """Start the processes, all side by side, and return; a second call does nothing."""
        with self._starting:
            if not self._has_started:
                self._has_started = True
                for predictor in self._predictors:
                    predictor.initialize()

    def wait_until_ready(self) -> None:
        """Wait until each process has loaded or failed once; it is then tried again meanwhile.

        Raises:
            IvmeError: no member works.
        """
        wait_for_loading([group.process for group in self._groups.values()])

    @property
    def is_ready(self) -> bool:
        """Whether at least one member can answer."""
        return any(group.process.is_ready for group in self._groups.values())

    def run(self, texts: Sequence[str]) -> list[EnsembleAnswer]:
        """Return the answer on each text.

        Raises:
            MemberDownError: no member could answer.
        """
        with self._taking() as predictor:
            answers = predictor.predict_batch(texts, details=True)
        self.tokens_read += sum(map(self.estimate.tokens, texts))
        return [EnsembleAnswer(content=one) for one in answers]

    async def answer_soon(self, text: str) -> EnsembleAnswer | None:
        """Return the answer on a text, asked for on the event loop; None: `run` has to be called.

        Every process must be idle, and answer.
        """
        predictor = self._predictor_at_rest()
        if predictor is None:
            return None
        try:
            start_s = time.perf_counter()
            # Those that compute long first: a process that wakes may take this one's core.
            groups = sorted(predictor.groups, key=lambda placed: placed.worker is None)
            parts = await asyncio.gather(*(_ask(placed, text) for placed in groups))
            outcomes = [scores for part in parts for scores in part]
            answer = predictor.conclude(text, outcomes, time.perf_counter() - start_s)
        except IvmeError:
            return None
        finally:
            self._free.put(predictor)
        self.tokens_read += self.estimate.tokens(text)
        return self.as_answer(answer)

    def _predictor_at_rest(self) -> Predictor | None:
        """Take a predictor all of whose processes are idle; None if there is none at hand."""
        try:
            predictor = self._free.get_nowait()
        except Empty:
            return None
        remotes = [placed.group.opened for placed in predictor.groups]
        if all(isinstance(one, RemoteGroup) and one.is_idle for one in remotes):
            return predictor
        self._free.put(predictor)
        return None

    def outcomes(self, text: str) -> Iterator[Outcome | Answer]:
        """Yield what each member says of a text as it answers, last the Answer."""
        with self._taking() as predictor:
            yield from predictor.outcomes(text)
        self.tokens_read += self.estimate.tokens(text)

    def as_answer(self, answer: Answer) -> EnsembleAnswer:
        """Return an Answer as clients get it."""
        details = answer.details(self.label_set, least_words=self.folder.least_words, cached=False)
        return EnsembleAnswer(content={**answer.to_dict(self.label_set), "details": details})

    def score_quickly(self, texts: Sequence[str]) -> list[list[float]] | None:
        """Return each text's probability of each label by the tabular members, on average.

        None if the ensemble has none, or they are down.
        """
        names = [group.name for group in self.folder.groups if group.kind == TABULAR]
        for (_, name), group in list(self._groups.items()):
            if name in names and group.process.is_ready:
                try:
                    tables = list(group.score_batch(texts).values())
                except MemberDownError:
                    continue
                return (sum(tables[1:], tables[0]) / len(tables)).tolist()
        return None

    @property
    def label_set(self) -> LabelSet:
        """The labels as answers show them."""
        return self._predictors[0].label_set

    def info(self) -> Mapping[str, Any]:
        """Return what clients should know of it."""
        names = self.folder.label_names
        return {
            "kind": self.kind,
            "model": self.folder.path.name,
            "labels": [
                {"label": label, "name": names.get(label, label)} for label in self.folder.labels
            ],
            "members": list(self.folder.member_names),
            "least_words": self.folder.least_words,
            "max_tokens": self._max_tokens,
        }

    def members_down(self) -> Mapping[str, str]:
        """Return the reason for each member that cannot answer now."""
        return {
            name: group.process.down_reason
            for group in self._groups.values()
            if group.process.down_reason
            for name in group.names
        }

    def member_restarts(self) -> Mapping[str, int]:
        """Return how often each member was started again."""
        restarts = dict.fromkeys(self.folder.member_names, 0)
        for group in self._groups.values():
            for name in group.names:
                restarts[name] += group.process.restarts
        return restarts

    def close(self) -> None:
        """End the processes."""
        for group in list(self._groups.values()):
            group.close()
        for predictor in self._predictors:
            predictor.close()

    def _predictor(self, number: int) -> Predictor:
        def open_group(name: str, **arguments: Any) -> MemberGroup:
            group = self._open_group(number, name, arguments)
            return group  # type: ignore[return-value]  # its notes are read, never set

        return Predictor.load(
            self._config.folder,
            device=self._config.device,
            threads=threads_of_copy(self._config),
            cache_size=0,  # the server has one for all copies
            open_group=open_group,
        )

    def _open_group(self, number: int, name: str, arguments: dict[str, Any]) -> RemoteGroup:
        """Start a group's process; one with other arguments takes the place of an older one.

        The predictor asks for that where memory ran out, and waits for it. A process that is not
        there in time is kept: calls fail until it is.
        """
        earlier = self._groups.get((number, name))
        group = self._start_group(number, name, arguments)
        if earlier is not None:
            group.process.restarts = earlier.process.restarts + 1
            with contextlib.suppress(IvmeError):
                group.process.wait_until_ready(self._config.timeout_s)
        return group

    def _start_group(self, number: int, name: str, arguments: dict[str, Any]) -> RemoteGroup:
        entry = self.folder.group_of(name)
        arguments.pop("progress", None)
        opening = {
            "open": "group",
            "folder": str(self.folder.path.absolute()),
            "group": name,
            "arguments": arguments,
        }
        process = MemberProcess(
            name if self._config.workers == 1 else f"{name} {number + 1}",
            opening,
            threads=arguments.get("threads"),
            call_timeout_s=self._config.timeout_s,
        )
        group = RemoteGroup(process, entry.members, self.folder.labels)
        self._groups[number, name] = group
        process.start()
        return group

    @contextmanager
    def _taking(self) -> Iterator[Predictor]:
        """Give a predictor that has room for a call."""
        predictor = self._free.get()
        try:
            yield predictor
        except IvmeError as error:
            if not self.is_ready:
                raise MemberDownError("; ".join(self.members_down().values())) from error
            raise
        finally:
            self._free.put(predictor)


def threads_of_copy(config: ServeConfig) -> int:
    """Return the threads of each copy of an ensemble: as told, or its share of this machine."""
    from ivme.hardware.inventory import read_inventory
    from ivme.hardware.threads import default_threads

    if config.threads is not None:
        return config.threads
    return max(1, default_threads(read_inventory()) // config.workers)


def _most_tokens(folder: EnsembleFolder) -> int | None:
    """Return how many tokens of a text the transformers read at most; None: without bound, or none.

    A plan that cannot be read does not count: its member will be down, and named.
    """
    limits = []
    for group in folder.groups:
        if group.kind != TABULAR:
            place = folder.path / group.folder
            with contextlib.suppress(UsageError):
                limits.append(read_plan(place).max_length or read_max_length(place))
    known = [limit for limit in limits if limit is not None]
    return max(known, default=None) if len(known) == len(limits) else None


async def _ask(placed: PlacedGroup, text: str) -> list[Scores]:
    """Return what each member of a group in another process says of a text.

    Raises:
        IvmeError: it is busy, down, or failed.
    """
    remote = placed.group.opened
    assert isinstance(remote, RemoteGroup)
    start_s = time.perf_counter()
    tables = await remote.score_soon(text)
    return list(scores_of(remote, tables, time.perf_counter() - start_s, placed.group.taken))
