"""The predictor: an ensemble's folder, ready to be asked what a text is, from any thread."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ivme.ensemble.answers import TOTAL, Answer, LabelSet
from ivme.ensemble.ensemble_folder import TABULAR, EnsembleFolder, say_nothing
from ivme.ensemble.fallback import CarefulGroup, GroupOpener
from ivme.ensemble.judging import AnswerMaker, choice_of, nobody_answered
from ivme.ensemble.result_cache import CacheStats, ResultCache
from ivme.ensemble.running import Outcome, PlacedGroup, Placement, Scores, place, run_groups
from ivme.ensemble.tabular import checked_text
from ivme.ensemble.voting import check_voting
from ivme.errors import UsageError
from ivme.models.surrogates import without_lone_surrogates

if TYPE_CHECKING:
    from types import TracebackType

CACHE_SIZE = 10_000  # answers, of about a kilobyte each
ASYNC_CALLS = 8  # awaited calls that are under way at a time; more wait in a queue


class Predictor:
    """An ensemble that says of a text which label it has. Safe to share by threads.

    Made by `load`, which reads manifests alone; members are opened by `initialize`, or at the
    first use. A member that fails drops out: it is named in `members_down`, and `total_models`
    counts the others.

    Attributes: labels, label_names, member_names, least_words, content_hash, as EnsembleFolder has
    them; label_set, the labels as answers show them; placement, how many transformers run at a
    time and on how many threads each.
    """

    def __init__(
        self,
        folder: EnsembleFolder,
        groups: Sequence[PlacedGroup],
        placement: Placement,
        *,
        voting: str,
        cache_size: int,
        progress: Callable[[str], None],
    ) -> None:
        self.labels = folder.labels
        self.label_names = dict(folder.label_names)
        self.member_names = folder.member_names
        self.least_words = folder.least_words
        self.content_hash = folder.content_hash
        self.placement = placement
        self.voting = voting
        self._maker = AnswerMaker(
            member_names=folder.member_names,
            voting=voting,
            stacking=folder.stacking,
            least_words=folder.least_words,
        )
        self.label_set = LabelSet(labels=folder.labels, names=self.label_names)
        self._groups = tuple(groups)
        self._cache: ResultCache[Answer] = ResultCache(cache_size, folder.content_hash)
        self._say = progress
        self._opening = threading.Lock()
        self._is_open = self._is_closed = False
        self._down: dict[str, str] = {}
        self._callers = ThreadPoolExecutor(ASYNC_CALLS, "ivme-ensemble-call")

    @staticmethod
    def load(
        folder: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        at_a_time: int | None = None,
        voting: str = "majority",
        cache_size: int = CACHE_SIZE,
        progress: Callable[[str], None] | None = None,
        allow_shorter: bool = False,
        open_group: GroupOpener | None = None,
    ) -> "Predictor":
        """Return the predictor of a folder that `ivme ensemble train` wrote, members unopened.

        device: "auto" takes a GPU where there is one; "cpu", "cuda", ... threads: in all; None:
        one a core that this process may use. at_a_time: transformers that run side by side and
        share the threads; None: all. voting: "majority", or "stacking" where it was trained.
        cache_size: answers to keep; 0: none. progress: called with lines as "Loading BERT...".
        allow_shorter: where memory runs out, texts may be cut to 256 tokens. open_group: opens
        members in the place of EnsembleFolder.open_group, for members in other processes.

        Raises:
            UsageError: no such folder, a foreign manifest, a pickle, or a value not allowed.
        """
        read = EnsembleFolder.read(folder, verify=False)
        check_voting(voting, has_stacking=read.stacking is not None)
        say = progress or say_nothing
        transformers = sum(group.kind != TABULAR for group in read.groups)
        placement = place(transformers, _threads(threads), at_a_time)
        workers = [
            ThreadPoolExecutor(1, f"ivme-ensemble-{number}")
            for number in range(placement.at_a_time)
        ]
        groups: list[PlacedGroup] = []
        for entry in read.groups:
            is_tabular = entry.kind == TABULAR
            careful = CarefulGroup(
                entry.name,
                open_group or read.open_group,
                allow_shorter=allow_shorter and not is_tabular,
                threads=1 if is_tabular else placement.threads,
                device=device,
                progress=say,
            )
            worker = None if is_tabular else workers[len(groups) % len(workers)]
            groups.append(PlacedGroup(group=careful, members=entry.members, worker=worker))
        return Predictor(
            read, groups, placement, voting=voting, cache_size=cache_size, progress=say
        )

    def initialize(self) -> None:
        """Open the members, unless they are open; threads that come meanwhile wait.

        Raises:
            UsageError: a damaged file, labels that differ, a device that is not there.
            IvmeError: no member could be opened; it says why, for each.
        """
        if self._is_open:
            return
        with self._opening:
            if self._is_closed:
                raise UsageError("the predictor was closed before this call; load it again")
            if not self._is_open:
                self._open_groups()
                self._is_open = True

    def predict(self, text: str) -> dict[str, Any]:
        """Return what the ensemble says: the part "ensemble" of `predict_all`."""
        answer, _, _ = self._answer(text)
        return answer.ensemble_dict(self.label_set)

    def predict_all(self, text: str, *, details: bool = False) -> dict[str, Any]:
        """Return what each member says of a text, and what the ensemble says.

        {"individual_results": {"BERT": {"prediction", "confidence", "label"}, ...}, "ensemble":
        {"prediction", "label", "confidence", "vote_count", "total_models"}}. prediction: the label
        as in the data, a number where all are. confidence: of a member, its probability of that
        label; of the ensemble, the share of votes, or with stacking the calibrated probability.
        details: also "details": calibrated probability of each label, milliseconds by member,
        whether the text is too short to judge, notes, and which members are down.

        Raises:
            UsageError: not a text.
            IvmeError: no member answered; it says why, for each.
        """
        answer, cached, seconds = self._answer(text)
        return self._as_dict(answer, cached, seconds, details=details)

    def predict_batch(self, texts: Sequence[str], *, details: bool = False) -> list[dict[str, Any]]:
        """Return what `predict_all` returns, for each text in order.

        Texts of like length run together, and equal ones once. Times in the details are each
        text's share of the batch.
        """
        if isinstance(texts, str):
            raise UsageError("one text where several were expected; give a list")
        start = time.perf_counter()
        encoded = [_encode(text) for text in texts]
        keys = [self._cache.key(one) for _, one in encoded]
        kept = {key: self._cache.get(key) for key in dict.fromkeys(keys)}
        known = {key: answer for key, answer in kept.items() if answer is not None}
        fresh = self._compute(
            {key: text for key, (text, _) in zip(keys, encoded, strict=True) if key not in known}
        )
        answers = known | fresh
        share = (time.perf_counter() - start) / max(1, len(texts))
        return [self._as_dict(answers[key], key in known, share, details=details) for key in keys]

    def predict_stream(self, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each member's name and result as it answers; last "ensemble" and its result.

        A member that fails is left out; `members_down` names it.
        """
        told: set[str] = set()
        for outcome in self.outcomes(text):
            if isinstance(outcome, Scores):
                told.add(outcome.name)
                yield outcome.name, choice_of(outcome, 0).to_dict(self.label_set)
            elif isinstance(outcome, Answer):
                for name, choice in outcome.members.items():
                    if name not in told:
                        yield name, choice.to_dict(self.label_set)
                yield "ensemble", outcome.ensemble_dict(self.label_set)

    def outcomes(self, text: str) -> Iterator[Outcome | Answer]:
        """Yield what each member says as it answers, or why it cannot; last the Answer.

        An answer that was kept comes alone.
        """
        text, encoded = _encode(text)
        key = self._cache.key(encoded)
        answer = self._cache.get(key)
        if answer is None:
            self.initialize()
            start = time.perf_counter()
            outcomes = []
            for outcome in run_groups(self._groups, [text], self._say):
                outcomes.append(outcome)
                yield outcome
            [answer] = self._conclude([key], [text], outcomes, time.perf_counter() - start)
        yield answer

    @property
    def groups(self) -> tuple[PlacedGroup, ...]:
        """The groups of members, for callers that ask them in a way of their own."""
        return self._groups

    def conclude(self, text: str, outcomes: Sequence[Outcome], seconds: float) -> Answer:
        """Return the answer that outcomes make which a caller got from the groups; it is not kept.

        Raises:
            IvmeError: no member answered.
        """
        [answer] = self._maker.answers([text], outcomes, seconds)
        return answer

    async def apredict_all(self, text: str, *, details: bool = False) -> dict[str, Any]:
        """Return what `predict_all` returns, without holding up the event loop."""
        return await self._in_thread(lambda: self.predict_all(text, details=details))

    async def apredict_batch(
        self, texts: Sequence[str], *, details: bool = False
    ) -> list[dict[str, Any]]:
        """Return what `predict_batch` returns, without holding up the event loop."""
        return await self._in_thread(lambda: self.predict_batch(texts, details=details))

    @property
    def cache_stats(self) -> CacheStats:
        """Hits, misses, size and hit rate of the cache of answers."""
        return self._cache.stats

    @property
    def members_down(self) -> dict[str, str]:
        """The members that could not be opened, or failed on the last texts, and why."""
        return dict(self._down)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the members say of themselves: devices, precisions, what was decided."""
        return tuple(note for placed in self._groups for note in placed.group.notes)

    def close(self) -> None:
        """Free the members; a second call does nothing."""
        with self._opening:
            self._is_closed, self._is_open = True, False
        self._callers.shutdown()
        for placed in self._groups:
            if placed.worker is not None:
                placed.worker.shutdown()
            placed.group.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self.close()

    def _open_groups(self) -> None:
        openings = [placed.open() for placed in self._groups]
        failures = [opening.exception() for opening in openings]
        down = {name: why for placed in self._groups for name, why in placed.down.items()}
        refusal = next((failure for failure in failures if failure is not None), None)
        if refusal is not None or len(down) == len(self.member_names):
            for placed in self._groups:
                placed.group.close()
                placed.down = {}
            raise refusal or nobody_answered(down)
        self._down = down
        for name, why in down.items():
            self._say(f"{name} is left out: {why}")

    def _answer(self, text: str) -> tuple[Answer, bool, float]:
        """Return the answer, whether it was in the cache, and the seconds it took."""
        start = time.perf_counter()
        text, encoded = _encode(text)
        key = self._cache.key(encoded)
        answer = self._cache.get(key)
        is_cached = answer is not None
        if answer is None:
            answer = self._compute({key: text})[key]
        return answer, is_cached, time.perf_counter() - start

    def _compute(self, texts: Mapping[bytes, str]) -> dict[bytes, Answer]:
        """Return the answer on each text, by its key."""
        if not texts:
            return {}
        self.initialize()
        start = time.perf_counter()
        outcomes = list(run_groups(self._groups, list(texts.values()), self._say))
        seconds = time.perf_counter() - start
        answers = self._conclude(list(texts), list(texts.values()), outcomes, seconds)
        return dict(zip(texts, answers, strict=True))

    def _conclude(
        self,
        keys: Sequence[bytes],
        texts: Sequence[str],
        outcomes: Sequence[Outcome],
        seconds: float,
    ) -> list[Answer]:
        """Return the answers that the outcomes make; keep them unless a member failed by chance."""
        answers = self._maker.answers(texts, outcomes, seconds)
        self._down = down = dict(answers[0].members_down)
        if down.keys() <= {name for placed in self._groups for name in placed.down}:
            for key, answer in zip(keys, answers, strict=True):
                self._cache.put(key, replace(answer, call_notes=()))
        return answers

    def _as_dict(
        self, answer: Answer, cached: bool, seconds: float, *, details: bool
    ) -> dict[str, Any]:
        content = answer.to_dict(self.label_set)
        if details:
            if cached:
                answer = replace(answer, timings_ms={TOTAL: 1e3 * seconds})
            content["details"] = answer.details(
                self.label_set, least_words=self.least_words, cached=cached
            )
        return content

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        if self._is_closed:
            raise UsageError("the predictor was closed before this call; load it again")
        return await asyncio.get_running_loop().run_in_executor(self._callers, call)


def _encode(text: object) -> tuple[str, bytes]:
    """Return the text, lone surrogates replaced by U+FFFD, and its bytes in UTF-8."""
    readable = without_lone_surrogates(checked_text(text))
    return readable, readable.encode()


def _threads(asked: int | None) -> int:
    if asked is not None:
        return asked
    from ivme.hardware.inventory import read_inventory
    from ivme.hardware.threads import default_threads

    return default_threads(read_inventory())
