import subprocess
import sys
from pathlib import Path

import pytest

from ivme.bench.configuration import BenchConfig
from ivme.diagnose.settings import StepSettings
from ivme.engines.protocol import EngineOptions
from ivme.errors import UsageError
from ivme.hardware.threads import (
    MOST_THREADS,
    ThreadSettings,
    default_threads,
    onnxruntime_session_options,
    openvino_config,
    torch_threads,
)
from ivme.serve.configuration import ServeConfig
from ivme.tune.configuration import CORPUS, TextSource, TuneConfig

APPLY = """
import os
import torch
from ivme.hardware.threads import ThreadSettings, apply_threads
from ivme.hardware.threads import read_torch_threads
used = apply_threads(ThreadSettings(intra=2, inter=1))
assert (used.intra, used.inter) == (2, 1), used
assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "2"
assert apply_threads(ThreadSettings(intra=1, inter=3)).inter == 1  # fixed by then, and told
assert read_torch_threads().intra == 1
assert read_torch_threads().flushes_denormals is False
assert torch.set_flush_denormal(True) == read_torch_threads().flushes_denormals
"""


def test_torch_and_openmp_are_bound_and_read_back():
    # In a process of its own: torch fixes its threads between operations once.
    result = subprocess.run([sys.executable, "-c", APPLY], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_default_is_one_thread_for_each_usable_core(make_inventory):
    assert default_threads(make_inventory(processor={"usable_cores": 3})) == 3


def test_torch_threads_are_set_back_after_a_failure():
    import torch

    before = torch.get_num_threads()
    during = []

    def fail():
        with torch_threads(before + 1):
            during.append(torch.get_num_threads())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert during == [before + 1]
    assert torch.get_num_threads() == before


def test_onnxruntime_gets_the_same_threads_and_does_not_spin():
    options = onnxruntime_session_options(ThreadSettings(intra=2))
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_openvino_really_runs_with_the_same_threads():
    import numpy as np
    from openvino import Core, Model
    from openvino import opset13 as ops

    parameter = ops.parameter([2, 2], np.float32)
    model = Model([ops.relu(parameter)], [parameter], "relu")
    compiled = Core().compile_model(model, "CPU", openvino_config(ThreadSettings(intra=1)))
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("NUM_STREAMS") == 1


@pytest.mark.parametrize("field", ["intra", "inter"])
def test_no_threads_are_refused(field):
    with pytest.raises(UsageError, match="threads=0; expected 1 or more"):
        ThreadSettings(**{"intra": 1, field: 0})


@pytest.mark.parametrize("count", [-1, 0, MOST_THREADS + 1])
def test_threads_that_no_machine_gains_by_are_refused_before_they_start(count):
    with pytest.raises(UsageError, match=f"threads={count}; expected 1 or more, at most 1,024"):
        ThreadSettings(intra=count)
    with pytest.raises(UsageError, match=f"threads={count}"):
        BenchConfig(model="preset:bert-tiny", threads=count)
    with pytest.raises(UsageError, match=f"threads={count}"):
        TuneConfig(model="preset:bert-tiny", texts=TextSource(file=CORPUS), threads=(1, count))
    with pytest.raises(UsageError, match=f"threads={count}"):
        StepSettings(threads=count)
    with pytest.raises(UsageError, match=f"threads={count}"):
        EngineOptions(threads=count)
    with pytest.raises(UsageError, match=f"threads={count}"):
        ServeConfig(folder=Path("model"), threads=count)
