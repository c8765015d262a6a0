"""What holds for every op and every kernel of it: all are held to the float64 reference."""

import pytest
import torch

import mm_rec_scan_cpu

# One step, one channel, widths that are no multiple of a vector, tiles that are not full.
SHAPES = [(1, 1, 1), (2, 7, 5), (1, 33, 37)]
# Whole vectors and several side by side; too much work for Triton's interpreter.
WIDE_SHAPES = [(2, 50, 64), (1, 20, 130), (1, 18, 301)]

compiles = pytest.mark.filterwarnings(
    # Raised inside torch itself, when its compiler is first imported.
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_and_gradients_are_those_of_the_float64_reference(
    op, kernel, device, shape, run_with_gradients, truth, assert_close
):
    inputs = op.make(*shape)
    actual = run_with_gradients(op.run, inputs, device=device, implementation=kernel)
    assert_close(actual, truth(op.run, inputs))


@pytest.mark.parametrize("shape", WIDE_SHAPES, ids=str)
def test_wide_sequences_are_those_of_the_float64_reference(
    op, shape, run_with_gradients, truth, assert_close
):
    inputs = op.make(*shape)
    actual = run_with_gradients(op.run, inputs, implementation="cpu")
    assert_close(actual, truth(op.run, inputs))


def test_bfloat16_is_read_and_written_with_float32_inside(
    op, kernel, device, run_with_gradients, truth, assert_close
):
    inputs = [
        value.bfloat16() if value.is_floating_point() else value for value in op.make(2, 40, 37)
    ]
    actual = run_with_gradients(
        op.run, inputs, dtype=torch.bfloat16, device=device, implementation=kernel
    )
    assert {value.dtype for value in actual} <= {torch.bfloat16, torch.float32}
    # Half a unit in the last place of bfloat16 is 0.2%; a gradient multiplies two rounded values.
    assert_close(actual, truth(op.run, inputs), tolerance=1e-2)


def test_strided_inputs_give_what_contiguous_ones_do(op, kernel, device, run_with_gradients):
    inputs = [value.to(device) for value in op.make(2, 9, 24)]
    wide = [torch.cat([value, value, value], dim=-1)[..., : value.shape[-1]] for value in inputs]
    # A bias has one dimension, and nothing to turn.
    turned = [
        value.mT.contiguous().mT if value.dim() > 1 else value.repeat_interleave(2)[::2]
        for value in inputs
    ]
    expected = _outputs(op, inputs, kernel)
    for strided in (wide, turned):
        assert not any(value.is_contiguous() for value in strided if value.dim() > 1)
        for value, same in zip(_outputs(op, strided, kernel), expected, strict=True):
            assert torch.equal(value, same)


def test_gradients_pass_gradcheck(op):
    inputs = [
        value.double().requires_grad_() if value.is_floating_point() else value
        for value in op.make(2, 5, 3)
    ]
    assert torch.autograd.gradcheck(op.run, inputs)


def test_the_registration_passes_opcheck(op, cpu_implementation):
    inputs = [
        value.requires_grad_() if value.is_floating_point() else value for value in op.make(2, 6, 5)
    ]
    if op.name == "cumulative_product":
        inputs = [inputs[0].detach().flatten(0, 1).requires_grad_()]
    registered = getattr(torch.ops.mm_rec, op.name).default
    torch.library.opcheck(registered, (*inputs, *op.settings, cpu_implementation))


@compiles
def test_compiled_without_a_graph_break_it_gives_the_same(op, run_with_gradients, assert_close):
    inputs = op.make(2, 21, 12)
    compiled = torch.compile(op.run, fullgraph=True)
    assert_close(
        run_with_gradients(compiled, inputs), run_with_gradients(op.run, inputs), tolerance=1e-6
    )


@compiles
def test_one_compilation_serves_every_length(op):
    torch.compiler.reset()
    compiled = torch.compile(op.run, fullgraph=True, dynamic=True)
    compiled(*op.make(2, 13, 12))
    for steps in (21, 34, 55):
        inputs = op.make(2, steps, 12)
        with torch._dynamo.config.patch(error_on_recompile=True):
            result = compiled(*inputs)
        torch.testing.assert_close(result, op.run(*inputs))


@pytest.mark.parametrize("shape", [(1, 3, 1), (2, 19, 37), (3, 18, 130)], ids=str)
def test_every_element_of_a_result_is_written(op, shape, run_with_gradients):
    inputs = op.make(*shape)
    torch.use_deterministic_algorithms(True)  # fills what torch.empty returns with NaN
    try:
        results = run_with_gradients(op.run, inputs, implementation="cpu")
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(value.isfinite().all() for value in results)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_instruction_set_gives_the_same(
    op, dtype, forced_instruction_set, run_with_gradients, assert_close
):
    inputs = op.make(2, 19, 45)
    expected = run_with_gradients(op.run, inputs, dtype=dtype)
    for name in mm_rec_scan_cpu.instruction_sets():
        forced_instruction_set(name)
        actual = run_with_gradients(op.run, inputs, dtype=dtype)
        # In bfloat16, a difference in the last bit of float32 may round the other way.
        assert_close(actual, expected, tolerance=1e-6 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize("shape", [(1, 3000, 20), (2, 1500, 70), (1, 900, 256)], ids=str)
def test_the_number_of_threads_changes_nothing(
    op, shape, thread_count, run_with_gradients, assert_close
):
    inputs = op.make(*shape)
    thread_count(1)
    expected = run_with_gradients(op.run, inputs)
    # More threads than there are channels to share out: time is cut as well.
    for threads in (2, 7, 16):
        thread_count(threads)
        assert_close(run_with_gradients(op.run, inputs), expected, tolerance=2e-5)


def test_large_results_that_go_past_the_caches_are_the_same(
    op, forced_instruction_set, assert_close
):
    small = op.make(1, 64, 512)
    # Weights have no batch.
    large = [v.repeat(48, *[1] * (v.dim() - 1)) if len(v) == 1 else v for v in small]
    for name in mm_rec_scan_cpu.instruction_sets():
        forced_instruction_set(name)
        expected = _outputs(op, small, "cpu")
        for value, row in zip(_outputs(op, large, "cpu"), expected, strict=True):
            assert torch.equal(value, row.expand_as(value))


def test_a_kernel_leaves_denormal_numbers_alone_outside(op):
    op.run(*op.make(2, 600, 64))
    tiny = torch.full((1 << 17,), 1e-40)
    assert (tiny * 0.5 > 0).all()


def test_two_calls_inside_autocast_keep_the_dtype_of_their_inputs(op):
    inputs = [
        value.bfloat16() if value.is_floating_point() else value for value in op.make(2, 8, 16)
    ]
    with torch.autocast("cpu", torch.bfloat16):
        first, second = _outputs(op, inputs, "cpu"), _outputs(op, inputs, "cpu")
    assert first[0].dtype == torch.bfloat16
    assert all(torch.equal(value, again) for value, again in zip(first, second, strict=True))


def _outputs(op, inputs, implementation):
    outputs = op.run(*inputs, implementation=implementation)
    return outputs if isinstance(outputs, tuple) else (outputs,)
