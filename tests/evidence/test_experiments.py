"""Every experiment of benchmarks/claims.py runs, and holds the figures that claims read from it.

On tiny models, all in one process, also what is measured in processes of its own otherwise: each
would import PyTorch and Transformers again. What the figures say is not asked here.
"""

import json
import math
import os
import shlex
import subprocess
import sys

import pytest

from ivme.evidence.ledger import read_ledger
from ivme.evidence.needs import NEEDS
from ivme.evidence.readers import read_figure
from ivme.evidence.running import MARK, checkout_folder, experiments_of
from ivme.hardware.inventory import read_inventory

ROOT = checkout_folder()
NAMES = experiments_of(ROOT / MARK)
NEEDED = {"gpu-gain": "gpu", "threads": "cores"}
RUN_ALL = """
import importlib, json, pathlib, sys, traceback
from ivme.measure import fresh_process

def measure_here(function, arguments=None):
    module, name = function.split(":")
    arguments = json.loads(json.dumps(dict(arguments or {})))
    value = getattr(importlib.import_module(module), name)(**arguments)
    return fresh_process.FreshRun(
        value=json.loads(json.dumps(value)),
        peak_memory_bytes=2**20,
        cuda_peak_memory_bytes=None,
        method="sampled",
    )

fresh_process.measure_in_fresh_process = measure_here
folder, benchmarks, *names = sys.argv[1:]
sys.path.insert(0, benchmarks)
import claims
for name in names:
    sys.argv = ["claims.py", name, "--tiny", "--output", f"{folder}/{name}.json"]
    try:
        claims.main()
    except BaseException:
        pathlib.Path(folder, f"{name}.failed").write_text(traceback.format_exc())
"""


def lacks(name):
    need = NEEDED.get(name)
    return NEEDS[need](read_inventory(with_torch=True)) if need else None


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Return the folder with the records of all experiments that run here."""
    folder = tmp_path_factory.mktemp("experiments")
    names = [name for name in NAMES if lacks(name) is None]
    command = [sys.executable, "-c", RUN_ALL, str(folder), str((ROOT / MARK).parent), *names]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, cwd=ROOT)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_holds_the_figures_of_its_claims(records, name):
    reason = lacks(name)
    if reason is not None:
        pytest.skip(reason)
    failed = records / f"{name}.failed"
    assert not failed.exists(), failed.read_text()
    content = json.loads((records / f"{name}.json").read_text())
    for claim in claims_of(name):
        figure = read_figure(content, claim.figure)
        assert figure.low <= figure.high
        assert all(map(math.isfinite, (figure.low, figure.value, figure.high)))


def claims_of(name):
    """Return the claims that read an experiment's record where it runs without a GPU."""
    ledger = read_ledger()
    lines = {one.name: shlex.split(one.line) for one in ledger.commands.values()}
    return [
        claim
        for claim in ledger.claims
        if lines[claim.command][1:3] == [MARK.as_posix(), name]
        and ("cuda" not in lines[claim.command] or name == "gpu-gain")
    ]


def test_every_experiment_measures_a_claim():
    assert [name for name in NAMES if not claims_of(name)] == []
