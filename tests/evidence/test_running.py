import dataclasses
import fcntl
import os

import pytest

from ivme.errors import IvmeError, UsageError
from ivme.evidence.ledger import Command
from ivme.evidence.running import checkout_folder, find_fault, run_command


def command(line, **settings):
    return Command(name="one", line=line, limit_s=settings.get("limit_s", 60), usual_s=1)


def test_a_command_runs_in_the_checkout_and_its_record_is_read(checkout):
    (checkout / "place.py").write_text(
        "import json, os, sys\nprint('hello')\n"
        "open(sys.argv[-1], 'w').write(json.dumps({'folder': os.getcwd()}))\n"
    )
    content = run_command(command("python place.py {record}"), checkout / "records", checkout)
    assert os.path.samefile(content["folder"], checkout)
    assert (checkout / "records" / "one.log").read_text() == "hello\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("python gone.py {record}", "the file gone.py is gone"),
        ("python -m ivme_gone.claims {record}", "the module ivme_gone.claims is gone"),
        ("rm -r {record}", "begins with neither ivme nor python"),
    ],
)
def test_a_command_that_is_gone_is_named(checkout, line, message):
    assert message in find_fault(command(line), checkout)
    with pytest.raises(IvmeError, match=message):
        run_command(command(line), checkout / "records", checkout)


def test_an_experiment_that_is_gone_is_named(checkout):
    (checkout / "benchmarks").mkdir()
    (checkout / "benchmarks" / "claims.py").write_text('EXPERIMENTS = {"data": "speed:data"}\n')
    line = "python benchmarks/claims.py {} --output {{record}}"
    assert find_fault(command(line.format("data")), checkout) is None
    fault = find_fault(command(line.format("luck")), checkout)
    assert fault == "benchmarks/claims.py has no experiment luck"


def test_a_command_that_fails_is_quoted(checkout):
    (checkout / "fails.py").write_text("raise SystemExit('no luck today')")
    with pytest.raises(
        IvmeError, match=r"`python fails.py` ended with exit status 1: no luck today; see .*one.log"
    ):
        run_command(command("python fails.py {record}"), checkout / "records", checkout)


def test_a_record_of_an_earlier_run_is_not_taken_for_a_new_one(checkout):
    (checkout / "silent.py").write_text("")
    (checkout / "records").mkdir()
    (checkout / "records" / "one.json").write_text("{}")
    with pytest.raises(IvmeError, match=r"`python silent.py` wrote no record that can be read"):
        run_command(command("python silent.py {record}"), checkout / "records", checkout)


def test_a_command_that_hangs_is_ended_with_what_it_started(checkout):
    (checkout / "child.py").write_text(
        "import fcntl, pathlib, time\nfile = open('lock', 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\nprint('locked', flush=True)\ntime.sleep(20)\n"
        "pathlib.Path('survived').touch()\n"
    )
    (checkout / "hangs.py").write_text(
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, 'child.py'])\ntime.sleep(600)\n"
    )
    with pytest.raises(IvmeError, match=r"`python hangs.py` took longer than 3 s"):
        run_command(command("python hangs.py {record}", limit_s=3), checkout / "r", checkout)
    assert (checkout / "r" / "one.log").read_text() == "locked\n"
    with (checkout / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # waits until the child has ended
    assert not (checkout / "survived").exists()


def test_the_checkout_is_found_from_anywhere_and_missed_where_there_is_none(monkeypatch, tmp_path):
    import ivme

    monkeypatch.chdir(tmp_path)
    assert (checkout_folder() / "benchmarks" / "claims.py").is_file()
    monkeypatch.setattr(ivme, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(UsageError, match=r"is no checkout .* run `ivme claims` in a checkout"):
        checkout_folder()


def test_ivme_commands_run_with_this_python(checkout):
    line = "ivme --version"
    with pytest.raises(IvmeError, match="`ivme --version` wrote no record"):
        run_command(command(line), checkout / "records", checkout)
    log = (checkout / "records" / "one.log").read_text()
    assert log.startswith("ivme ")


def test_commands_are_plain_data():
    assert dataclasses.asdict(command("python x.py {record}"))["needs"] == ()
