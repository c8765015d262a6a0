"""Processes that cannot start, die while they load, or do not read: told, and tried again."""

import asyncio
import errno
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from servers import wait_for

from ivme.errors import IvmeError
from ivme.serve import supervision
from ivme.serve.configuration import ServeConfig
from ivme.serve.ensemble_model import EnsembleModel
from ivme.serve.member_process import NICENESS
from ivme.serve.plan_model import PlanModel
from ivme.serve.process_pool import ProcessPool, UnwantedError, wait_for_loading
from ivme.serve.supervision import MemberBusyError, MemberDownError, MemberHungError, MemberProcess


def process_of(folder: Path | str, name: str = "model") -> MemberProcess:
    opening = {"open": "plan", "folder": str(folder), "threads": 1, "max_batch_tokens": 64}
    return MemberProcess(name, opening, threads=1, call_timeout_s=30)


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Give what lets processes start again; until it is set the system has no room for one."""
    there_is_room = threading.Event()
    start = subprocess.Popen

    def popen(*arguments, **named):
        if not there_is_room.is_set():
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return start(*arguments, **named)

    monkeypatch.setattr(supervision.subprocess, "Popen", popen)
    return there_is_room


def test_a_process_that_cannot_be_started_is_tried_again(classifier_folder: Path, scarce):
    process = process_of(classifier_folder)
    process.start()
    try:
        with pytest.raises(MemberDownError, match=r"cannot be started \(Resource temporarily"):
            process.wait_until_ready()
        scarce.set()
        wait_for(lambda: process.is_ready)
        assert process.call({"texts": ["a film"]}).content["labels"]
        assert process.restarts > 0
    finally:
        process.close()


def test_a_model_that_takes_too_long_to_load_is_told_so(classifier_folder: Path, monkeypatch):
    monkeypatch.setattr(supervision, "OPEN_TIMEOUT_S", 0.001)
    process = process_of(classifier_folder)
    process.start()
    try:
        with pytest.raises(MemberDownError, match=r"^model did not load within 0.001 s; it is"):
            process.wait_until_ready()
    finally:
        process.close()


@pytest.mark.parametrize(
    ("status", "words"),
    [(-9, "was killed (SIGKILL"), (-15, "SIGTERM"), (-40, "by signal 40"), (3, "exit status 3")],
)
def test_every_way_to_end_has_words(status: int, words: str):
    assert words in supervision._describe_exit(status)


def test_whatever_goes_wrong_at_opening_is_told(tmp_path: Path, classifier_folder: Path):
    opening = {"open": "plan", "folder": str(classifier_folder), "threads": "many"}
    process = MemberProcess("model", opening, threads=1, call_timeout_s=30)
    process.start()
    try:
        with pytest.raises(IvmeError, match=r"the model failed \(\w+Error\)"):
            process.wait_until_ready()
    finally:
        process.close()


def test_loading_is_over_once_each_process_works_or_has_failed(classifier_folder: Path, tmp_path):
    good, bad = process_of(classifier_folder, "good"), process_of(tmp_path, "bad")
    good.start()
    bad.start()
    try:
        wait_for_loading([bad, good])
        assert good.is_ready
        assert "cannot load its model" in str(bad.down_reason)
        with pytest.raises(IvmeError, match=str(tmp_path)):
            wait_for_loading([bad])
    finally:
        good.close()
        bad.close()


def test_a_busy_process_is_waited_for_while_anyone_wants_it(classifier_folder: Path):
    process = process_of(classifier_folder)
    process.start()
    process.wait_until_ready()
    pool = ProcessPool([process])
    asked = iter([True, True, False])
    try:
        with (
            pool.taking() as taken,
            pytest.raises(UnwantedError),
            pool.taking(is_wanted=lambda: next(asked)),
        ):
            pytest.fail("had a process that is busy")
        assert taken is process
        assert next(asked, None) is None
    finally:
        pool.close()


def test_a_group_that_is_opened_anew_is_counted_and_leaves_none_behind(ensemble_folder: Path):
    model = EnsembleModel(ServeConfig(folder=ensemble_folder, timeout_s=0.001))
    model.start()
    try:
        model.wait_until_ready()
        first = model._groups[0, "BERT"]
        first.close()  # as the predictor does when memory ran out
        second = model._open_group(0, "BERT", {"threads": 1, "device": "cpu"})
        assert model._groups[0, "BERT"] is second
        assert model.member_restarts() == {"BERT": 1, "DRF": 0, "GBM": 0, "GLM": 0}
        wait_for(lambda: second.process.is_ready)
    finally:
        model.close()


def test_a_batch_that_takes_too_long_is_not_run_again(classifier_folder: Path):
    model = PlanModel(ServeConfig(folder=classifier_folder, timeout_s=0.2))
    model.start()
    try:
        model.wait_until_ready()
        os.kill(model.pool.processes[0]._process.pid, signal.SIGSTOP)
        with pytest.raises(MemberHungError, match=r"did not answer within 0.2 s"):
            model.run(["a film"])
    finally:
        model.close()


async def ask_soon(process: MemberProcess) -> list[str]:
    answer = await process.call_soon({"texts": ["a film"]})
    labels: list[str] = answer.content["labels"]
    return labels


def test_a_process_is_called_on_the_event_loop_by_one_caller_at_a_time(classifier_folder: Path):
    process = process_of(classifier_folder)
    process.start()

    async def scenario() -> None:
        first = asyncio.create_task(ask_soon(process))
        await asyncio.sleep(0)
        assert not process.is_idle
        with pytest.raises(MemberBusyError):
            await ask_soon(process)
        assert await first == process.call({"texts": ["a film"]}).content["labels"]
        assert process.is_idle

    try:
        process.wait_until_ready()
        asyncio.run(scenario())
    finally:
        process.close()


@pytest.mark.parametrize("end", ["kill", "close"])
def test_the_end_of_a_process_is_told_on_the_event_loop(classifier_folder: Path, end: str):
    process = process_of(classifier_folder)
    process.start()

    async def scenario() -> None:
        os.kill(process._process.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(ask_soon(process))
        await asyncio.sleep(0.01)
        if end == "kill":
            process._process.kill()
        else:
            await asyncio.to_thread(process.close)
        with pytest.raises(MemberDownError):
            await asyncio.wait_for(waiting, 10)

    try:
        process.wait_until_ready()
        asyncio.run(scenario())
    finally:
        process.close()


def test_a_process_yields_to_the_server_and_gets_no_signals_of_its_terminal(classifier_folder):
    process = process_of(classifier_folder)
    process.start()
    try:
        process.wait_until_ready()
        number = process._process.pid
        assert os.getpgid(number) != os.getpgid(0)
        assert os.getsid(number) == os.getsid(0)  # Linux compares niceness within a session alone
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, number) == min(19, own + NICENESS)
    finally:
        process.close()


def test_a_process_that_hangs_is_ended_from_the_event_loop_too(classifier_folder: Path):
    opening = {"open": "plan", "folder": str(classifier_folder), "threads": 1}
    opening["max_batch_tokens"] = 64
    process = MemberProcess("model", opening, threads=1, call_timeout_s=0.2)
    process.start()
    try:
        process.wait_until_ready()
        os.kill(process._process.pid, signal.SIGSTOP)
        with pytest.raises(MemberHungError, match=r"did not answer within 0.2 s"):
            asyncio.run(ask_soon(process))
        wait_for(lambda: process.is_ready)
        assert asyncio.run(ask_soon(process))
    finally:
        process.close()


def test_vectors_that_are_kept_do_not_keep_their_batch(classifier_folder: Path):
    model = PlanModel(ServeConfig(folder=classifier_folder))
    model.start()
    try:
        model.wait_until_ready()
        for answer in model.run(["a film", "another one"]):
            assert answer.probabilities.base is None
    finally:
        model.close()
