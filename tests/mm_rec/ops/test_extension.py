"""The compiled module: what it refuses, and that nothing handed to it can crash the interpreter."""

import subprocess
import sys
from contextlib import suppress

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mm_rec_scan_cpu
from mm_rec_scan_cpu import _native

KERNELS = {
    _native.cumulative_product: 2,
    _native.cumulative_product_backward: 4,
    _native.linear_recurrence: 5,
    _native.linear_recurrence_backward: 8,
    _native.gated_recurrence: 9,
    _native.gated_recurrence_backward: 16,
    _native.exact_recurrence: 13,
    _native.exact_recurrence_backward: 18,
}
OPTIONS = {
    _native.gated_recurrence: ["mdi_state", "keeps_variance"],
    _native.gated_recurrence_backward: ["mdi_state", "mdi_state_gradient", "keeps_variance"],
}
DTYPES = [numpy.float32, numpy.float64, numpy.int32, numpy.bool_, numpy.complex64, numpy.uint8]


@st.composite
def _arrays(draw):
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    array = numpy.zeros(shape, dtype=draw(st.sampled_from(DTYPES)))
    change = draw(st.integers(0, 5))
    if change == 1:
        array = array.T
    elif change == 2 and array.ndim:
        array = array[::-1, ...]
    elif change == 3:
        array = numpy.broadcast_to(array[..., None], (*shape, 3))
    elif change == 4:
        array.flags.writeable = False
    elif change == 5 and array.dtype != numpy.complex64:
        return torch.from_numpy(array).bfloat16()
    return array


_fitting = st.sampled_from(
    [
        torch.zeros(2, 3, 5),
        torch.zeros(2, 3, 5),
        torch.zeros(2, 3, 10)[..., 5:],
        torch.zeros(2, 3, 5).bfloat16(),
        torch.zeros(2, 5),
        torch.zeros(5, 5),
        torch.zeros(5),
        torch.zeros(2, 3, dtype=torch.bool),
    ]
)
_anything = st.one_of(
    _fitting,
    _fitting,
    _arrays(),
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=3),
    st.just(torch.zeros(2, 3, 5, device="meta")),
    st.just(torch.zeros(2, 3, 5, requires_grad=True)),
    st.just(torch.zeros(2, 3, 5).to_sparse()),
)


def assert_still_sound():
    """Hold a sound call to its result: whoever wrote where it may not would show here."""
    ones, out, last = torch.ones(2, 3, 5), torch.full((2, 3, 5), torch.nan), torch.zeros(2, 5)
    _native.linear_recurrence(ones, ones, None, out, last, 1)
    assert torch.equal(out, torch.arange(1.0, 4.0).view(1, 3, 1).expand(2, 3, 5))
    assert torch.equal(last, torch.full((2, 5), 3.0))


@settings(max_examples=600, deadline=None)
@given(kernel=st.sampled_from(list(KERNELS)), data=st.data())
def test_any_arguments_are_computed_or_refused(kernel, data):
    arguments = [data.draw(_anything) for _ in range(KERNELS[kernel])]
    threads = data.draw(st.sampled_from([-1, 0, 1, 2, 1 << 40, None]))
    options = {name: data.draw(_anything) for name in OPTIONS.get(kernel, [])}
    with suppress(TypeError, ValueError):
        kernel(*arguments, threads, **options)
    assert_still_sound()


def test_the_array_that_does_not_fit_is_named():
    a, state = torch.zeros(2, 3, 5), torch.zeros(2, 5)
    with pytest.raises(ValueError, match="b differs in shape from the other sequences"):
        _native.linear_recurrence(a, a[:1], None, a, state, 1)
    with pytest.raises(ValueError, match="h differs in dtype from the other sequences"):
        _native.linear_recurrence(a, a, None, a.bfloat16(), state, 1)
    with pytest.raises(ValueError, match=r"h0 must have shape \[batch, channels\]"):
        _native.linear_recurrence(a, a, state[:1], a, state, 1)
    turned = a.transpose(0, 2).contiguous().transpose(0, 2)
    with pytest.raises(ValueError, match="b must be contiguous in its last dimension"):
        _native.linear_recurrence(a, turned, None, a, state, 1)


def test_a_gradient_without_a_place_to_go_is_refused():
    x, state = torch.zeros(2, 3, 5), torch.zeros(2, 5)
    with pytest.raises(ValueError, match="mdi_state and mdi_state_gradient must be given both"):
        _native.gated_recurrence_backward(
            x, None, *[x] * 5, None, None, x, *[x] * 5, state, 1, mdi_state=x
        )


def test_a_result_is_never_written_into_a_hidden_copy():
    a = numpy.full((1, 2, 3), 0.5, dtype=numpy.float32)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _native.cumulative_product(a, numpy.zeros((3,), dtype=numpy.float32), 1)
    locked = numpy.zeros_like(a)
    locked.flags.writeable = False
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _native.cumulative_product(a, locked, 1)


def test_the_best_instruction_set_is_in_use_and_others_can_be_forced(forced_instruction_set):
    names = mm_rec_scan_cpu.instruction_sets()
    assert names[-1] == "portable"
    for name in names:
        forced_instruction_set(name)
        assert mm_rec_scan_cpu.instruction_set() == name


def test_an_unknown_instruction_set_is_refused_with_those_that_run():
    with pytest.raises(ValueError, match=r"'mmx' does not run here; expected one of .*portable"):
        mm_rec_scan_cpu.set_instruction_set("mmx")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_threads_are_those_of_torch():
    script = (
        "import mm_rec_scan_cpu, re\n"
        "paths = {line.split()[-1] for line in open('/proc/self/maps')}\n"
        "print(sum('gomp' in path for path in paths))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "1"
