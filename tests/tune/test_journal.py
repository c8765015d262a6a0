import json

import pytest
from planted import StillClock

from ivme.tune.journal import Journal, journal_path


@pytest.fixture
def clock():
    return StillClock()


def test_a_step_runs_once_and_its_time_is_kept(tmp_path, clock):
    path = tmp_path / "plan.search.jsonl"
    ran = []

    def work():
        ran.append(1)
        clock.work(3.0)
        return {"answer": 42}

    first = Journal(path, {"model": "a"}, clock)
    assert first.step("one", work) == {"answer": 42}
    assert first.step("one", work) == {"answer": 42}
    again = Journal(path, {"model": "a"}, clock)
    assert again.step("one", work) == {"answer": 42}
    assert (len(ran), again.taken_s, len(again), "one" in again) == (1, 3.0, 1, True)


def test_a_step_that_is_interrupted_is_not_kept(tmp_path, clock):
    journal = Journal(tmp_path / "j.jsonl", {}, clock)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.step("one", stop)
    assert "one" not in Journal(tmp_path / "j.jsonl", {}, clock)


def test_the_journal_of_another_search_is_begun_anew(tmp_path, clock):
    Journal(tmp_path / "j.jsonl", {"model": "a"}, clock).step("one", dict)
    other = Journal(tmp_path / "j.jsonl", {"model": "b"}, clock)
    assert other.was_replaced
    assert len(other) == 0


def test_a_line_cut_short_is_left_out(tmp_path, clock):
    path = tmp_path / "j.jsonl"
    journal = Journal(path, {}, clock)
    journal.step("one", lambda: 1)
    journal.step("two", lambda: 2)
    path.write_text(path.read_text()[:-8])
    again = Journal(path, {}, clock)
    assert again.names == ("one",)
    again.step("three", lambda: 3)
    assert Journal(path, {}, clock).names == ("one", "three")


def test_it_stands_beside_the_folder_of_the_plan_and_is_json(tmp_path, clock):
    path = journal_path(tmp_path / "plan")
    assert path == tmp_path / "plan.search.jsonl"
    Journal(path, {"model": "a"}, clock).step("one", lambda: [1.5])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [
        {"fingerprint": {"model": "a"}},
        {"step": "one", "result": [1.5], "took_s": 0.0},
    ]
    Journal(path, {"model": "a"}, clock).remove()
    assert not path.exists()
