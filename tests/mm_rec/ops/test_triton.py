"""Triton kernels without a GPU: run by the interpreter, and compiled for real targets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mm_rec

HERE = Path(__file__).parent
# The package that this session runs on, for the processes it starts.
SOURCE = str(Path(mm_rec.__file__).parents[1])

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mm_rec.ops.exact_recurrence import triton as exact
from mm_rec.ops.gated_recurrence import triton as gated
from mm_rec.ops.linear_recurrence import triton as linear

SPECIAL = {"steps": "i32", "width": "i32", "is_padding": "*i1"}
SPECIAL |= {name: ("i64",) * 5 for name in ("batch_strides", "time_strides")}
SPECIAL |= {name: "*fp32" for name in ("h0", "h_last", "h0_gradient", "h_last_gradient")}
SPECIAL |= {name: "*fp32" for name in ("gate_weight", "gate_bias", "mdi_weight")}
SPECIAL |= {"batch": "i32", "states": "*fp32", "carried": "*fp32", "gates_carry": "*fp32"}
SIZES = {"STEPS": 32, "CHANNELS": 32, "ROWS": 16}
KERNELS = [linear._forward, linear._backward, gated._forward, gated._backward]
KERNELS += [exact._forward, exact._backward]

def binary_bytes(kernel, target, values):
    signature = {name: SPECIAL.get(name, values) for name in kernel.arg_names}
    constants = {name: SIZES.get(name, True) for name in kernel.arg_names if name.isupper()}
    signature |= {name: "constexpr" for name in constants}
    source = ASTSource(kernel, signature=signature, constexprs=constants)
    compiled = triton.compile(source, target=target)
    return len(compiled.asm["cubin" if target.backend == "cuda" else "hsaco"])

for target in (GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx942", 64)):
    for kernel in KERNELS:
        print(binary_bytes(kernel, target, "*bf16"))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="this is that run")
def test_triton_kernels_pass_the_same_tests_under_the_interpreter():
    # The variable must be there before triton is imported for the first time: a fresh process.
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "triton"]
    command += [str(HERE / "test_kernels.py")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:]
    assert " passed" in run.stdout


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="compiles, not interprets")
def test_triton_kernels_compile_for_gpus_of_both_makers(tmp_path):
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", COMPILE]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    assert [int(line) > 0 for line in run.stdout.split()] == [True] * 12
