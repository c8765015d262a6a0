import importlib.util

import pytest

from ivme.evidence.running import checkout_folder
from ivme.measure.records import Measurement, new_record, save_record

PATH = checkout_folder() / "benchmarks" / "claim_experiments" / "reruns.py"


@pytest.fixture
def reruns():
    specification = importlib.util.spec_from_file_location("reruns", PATH)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def write_runs(tmp_path):
    """Return a function that writes runs of one claim with these verdicts, None for a failure."""

    def write(verdicts):
        paths = []
        for number, verdict in enumerate(verdicts):
            one = Measurement(
                label="twice",
                configuration={},
                failure=None if verdict else "it is gone",
                facts={"verdict": verdict} if verdict else {},
            )
            paths.append(str(tmp_path / f"{number}.json"))
            save_record(new_record("claims", [], {}, {}, measurements=[one]), tmp_path / paths[-1])
        return paths

    return write


def test_nine_of_ten_are_enough_and_eight_are_not(reruns, write_runs, capsys):
    assert reruns.main(write_runs(["holds"] * 9 + ["partly"])) == 0
    assert capsys.readouterr().out == (
        "twice: 9 holds, 1 partly\n1 claims in 10 runs: 0 always the same, 0 below 90%\n"
    )
    assert reruns.main(write_runs(["holds"] * 8 + ["partly"] * 2)) == 1
    assert reruns.main(write_runs(["holds"] * 10)) == 0


def test_a_failure_is_an_outcome_of_its_own(reruns, write_runs, capsys):
    assert reruns.main(write_runs(["holds", None])) == 1
    assert "twice: 1 holds, 1 failed" in capsys.readouterr().out


def test_one_run_says_nothing_of_reruns(reruns, write_runs, capsys):
    assert reruns.main(write_runs(["holds"])) == 2
    assert "give two or more claims.json" in capsys.readouterr().err
