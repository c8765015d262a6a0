import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mm_rec_scan_cpu
from mm_rec.errors import ConfigError, ImplementationError, ShapeError
from mm_rec.ops.memory import chunked_memory
from mm_rec.ops.memory.chunked import chunked_matrix_memory
from mm_rec.ops.memory.reference import matrix_memory

SCALES = [16.0, 128.0, 900.0]

compiles = pytest.mark.filterwarnings(
    # Raised inside torch itself, when its compiler is first imported.
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)


def make_inputs(batch=2, steps=70, heads=2, width=16, banks=1, dtype=torch.float32):
    """Query, priority, key, first key, value and memory."""
    torch.manual_seed(steps)
    channels = heads * width
    query, priority, key, value = (torch.randn(batch, steps, channels).to(dtype) for _ in range(4))
    memory = torch.randn(batch, banks, heads, width, width)
    return [query, priority, key, torch.randn(batch, channels), value, memory]


def by_recurrence(query, priority, key, first_key, value, memory, scales, lengths=None):
    """Return what `chunked_memory` does, one step at a time."""
    key = torch.sigmoid(priority) * torch.cat([first_key.unsqueeze(1), key[:, :-1]], dim=1)
    heads = memory.shape[2:4]
    split = (tensor.unflatten(-1, heads) for tensor in (query, key, value))
    steps = query.shape[1]
    mask = None if lengths is None else torch.arange(steps) < lengths.unsqueeze(-1)
    reads, last = matrix_memory(*split, memory, scales, mask)
    reads = reads / (reads.square().mean(-1, keepdim=True) + heads[1]).sqrt()
    return reads.flatten(3), last


def results(run, inputs, scales, lengths=None, dtype=None, **options):
    """Reads that count, the last memory, and the gradients of all inputs by a loss of both."""
    leaves = [value.detach().to(dtype or value.dtype).requires_grad_() for value in inputs]
    reads, last = run(*leaves, scales, lengths, **options)
    if lengths is not None:
        counts = torch.arange(reads.shape[2]) < lengths.unsqueeze(-1)
        reads = reads.masked_fill(~counts[:, None, :, None], 0)
    weights = [torch.arange(v.numel()).view(v.shape) % 7 - 2 for v in (reads, last)]
    loss = (reads * weights[0]).double().sum() + (last * weights[1]).double().sum()
    gradients = torch.autograd.grad(loss, leaves)
    return [value.detach() for value in (reads, last, *gradients)]


def doubles(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def assert_chunks_equal_steps(steps, width, time_scales, batch=2, heads=2, lengths=None):
    torch.manual_seed(steps)
    tensors = [doubles(batch, steps, heads, width) for _ in range(3)]
    tensors.append(doubles(batch, len(time_scales), heads, width, width))
    mask = None if lengths is None else torch.arange(steps) < lengths.unsqueeze(-1)
    counts = torch.ones(1, 1) if mask is None else mask
    expected, last = matrix_memory(*tensors, time_scales, mask)
    reads, memory = chunked_matrix_memory(*tensors, time_scales, lengths)
    slope = torch.randn_like(expected) * counts[:, None, :, None, None]
    torch.testing.assert_close(reads * (slope != 0), expected * (slope != 0))
    torch.testing.assert_close(memory, last)
    torch.testing.assert_close(
        torch.autograd.grad((reads * slope).sum() + memory.square().sum(), tensors),
        torch.autograd.grad((expected * slope).sum() + last.square().sum(), tensors),
    )


@settings(max_examples=15, deadline=None)
@given(
    steps=st.integers(1, 200),
    width=st.integers(1, 5),
    time_scales=st.lists(st.floats(0.5, 10_000), min_size=1, max_size=3),
)
def test_chunks_of_torch_products_equal_the_recurrence_at_any_length(steps, width, time_scales):
    assert_chunks_equal_steps(steps, width, time_scales)


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(0, 150), min_size=3, max_size=3))
def test_padding_neither_writes_nor_decays_in_torch_products(lengths):
    assert_chunks_equal_steps(150, 3, [4.0, 900.0], batch=3, heads=1, lengths=torch.tensor(lengths))


@pytest.mark.parametrize("steps", [2048, 2500])
def test_more_chunks_than_one_group_holds_change_nothing(steps):
    assert_chunks_equal_steps(steps, 2, [1000.0], batch=1, heads=1)


@settings(max_examples=25, deadline=None)
@given(
    steps=st.integers(1, 200),
    heads=st.integers(1, 3),
    width=st.integers(1, 40),
    time_scales=st.lists(st.floats(0.5, 10_000), min_size=1, max_size=3),
)
def test_the_kernel_equals_the_recurrence_at_any_shape(steps, heads, width, time_scales):
    inputs = make_inputs(2, steps, heads, width, len(time_scales))
    expected = results(by_recurrence, inputs, time_scales, dtype=torch.float64)
    actual = results(chunked_memory, inputs, time_scales, implementation="cpu")
    for value, true in zip(actual, expected, strict=True):
        assert (value - true).abs().max() <= 1e-5 * true.abs().max().clamp_min(1e-30)


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(0, 150), min_size=3, max_size=3), width=st.integers(1, 20))
def test_what_stands_behind_the_lengths_is_neither_read_nor_written(lengths, width):
    inputs, lengths = make_inputs(3, 150, 2, width, 2), torch.tensor(lengths)
    expected = results(by_recurrence, inputs, SCALES[:2], lengths, dtype=torch.float64)
    counts = torch.arange(150) < lengths.unsqueeze(-1)
    for place in (0, 1, 2, 4):
        inputs[place][~counts] = torch.nan
    actual = results(chunked_memory, inputs, SCALES[:2], lengths, implementation="cpu")
    for value, true in zip(actual, expected, strict=True):
        assert (value - true).abs().max() <= 1e-5 * true.abs().max().clamp_min(1e-30)
    assert all((actual[2 + place][~counts] == 0).all() for place in (0, 1, 4))


@settings(max_examples=15, deadline=None)
@given(cuts=st.sets(st.integers(1, 199), max_size=4))
def test_a_sequence_fed_in_chunks_equals_the_whole(cuts):
    inputs = [value.requires_grad_() for value in make_inputs(2, 200, 2, 8, 2)]
    query, priority, key, first_key, value, memory = inputs
    whole, last = chunked_memory(*inputs, SCALES[:2])
    state, before, parts = memory, first_key, []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 200], strict=True):
        now = slice(start, end)
        part, state = chunked_memory(
            query[:, now], priority[:, now], key[:, now], before, value[:, now], state, SCALES[:2]
        )
        before = key[:, end - 1]
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-5)
    expected = torch.autograd.grad(whole.square().sum() + last.sum(), inputs)
    actual = torch.autograd.grad(torch.cat(parts, dim=2).square().sum() + state.sum(), inputs)
    for value, true in zip(actual, expected, strict=True):
        assert (value - true).abs().max() <= 1e-5 * true.abs().max()


def test_one_token_after_the_other_equals_the_whole():
    inputs = make_inputs(2, 20, 2, 8, 2)
    query, priority, key, before, value, memory = inputs
    whole, last = chunked_memory(*inputs, SCALES[:2])
    for implementation in ("cpu", "reference"):
        state, first = memory, before
        for t in range(20):
            now = slice(t, t + 1)
            read, state = chunked_memory(
                query[:, now], priority[:, now], key[:, now], first, value[:, now], state,
                SCALES[:2], implementation=implementation,
            )  # fmt: skip
            first = key[:, t]
            torch.testing.assert_close(read, whole[:, :, now], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("steps", "heads", "width", "banks"), [(1, 1, 1, 1), (65, 4, 32, 1), (130, 3, 20, 3)]
)
def test_every_instruction_set_equals_the_float64_reference(
    dtype, steps, heads, width, banks, forced_instruction_set, assert_close
):
    inputs = make_inputs(2, steps, heads, width, banks, dtype)
    scales = SCALES[:banks]
    expected = results(
        chunked_memory, inputs, scales, dtype=torch.float64, implementation="reference"
    )
    # Half a unit in the last place of bfloat16 is 0.2%; a read alone in its head is divided by
    # itself, and what is left of its gradient is small beside what was rounded.
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2 if width > 1 else 0.2
    for name in mm_rec_scan_cpu.instruction_sets():
        forced_instruction_set(name)
        actual = results(chunked_memory, inputs, scales, implementation="cpu")
        assert actual[0].dtype == dtype
        assert actual[1].dtype == torch.float32
        assert_close(actual, expected, tolerance)


@pytest.mark.parametrize("lengths", [None, [0], [300], [1900]], ids=str)
def test_threads_that_cut_time_change_nothing(lengths, thread_count, assert_close):
    inputs = make_inputs(1, 2000, 2, 16, 2)
    lengths = None if lengths is None else torch.tensor(lengths)
    thread_count(1)
    expected = results(chunked_memory, inputs, SCALES[:2], lengths)
    for threads in (2, 7, 32):
        thread_count(threads)
        assert_close(results(chunked_memory, inputs, SCALES[:2], lengths), expected, 2e-5)


@pytest.mark.parametrize(
    ("steps", "width", "lengths"), [(1, 1, None), (70, 16, None), (90, 5, [0, 40])]
)
def test_every_element_of_a_result_is_written(steps, width, lengths):
    lengths = None if lengths is None else torch.tensor(lengths)
    torch.use_deterministic_algorithms(True)  # fills what torch.empty returns with NaN
    try:
        found = results(chunked_memory, make_inputs(2, steps, 2, width, 2), SCALES[:2], lengths)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(value.isfinite().all() for value in found)


def test_slices_of_a_wider_product_give_what_copies_do():
    torch.manual_seed(0)
    parts = torch.randn(2, 70, 4 * 24).split(24, dim=-1)
    first_key, memory = torch.randn(2, 24), torch.randn(2, 1, 3, 8, 8)

    def found(query, priority, key, value):
        return results(chunked_memory, [query, priority, key, first_key, value, memory], SCALES[:1])

    sliced, copied = found(*parts), found(*(part.contiguous() for part in parts))
    assert all(torch.equal(a, b) for a, b in zip(sliced, copied, strict=True))


def test_a_missing_first_key_is_zeros():
    inputs = make_inputs()
    inputs[3] = torch.zeros_like(inputs[3])
    expected = chunked_memory(*inputs, SCALES[:1])
    inputs[3] = None
    assert all(map(torch.equal, chunked_memory(*inputs, SCALES[:1]), expected))


@pytest.mark.parametrize("implementation", ["cpu", "reference"])
def test_a_fast_decay_over_many_chunks_stays_finite(implementation):
    inputs = make_inputs(1, 2048, 1, 4)
    found = results(chunked_memory, inputs, [0.01], implementation=implementation)
    assert all(value.isfinite().all() for value in found)


def test_131072_tokens_are_as_exact_as_a_few():
    inputs = make_inputs(1, 131_072, 1, 4)
    with torch.no_grad():
        reads, last = chunked_memory(*inputs, [8192.0])
        true_reads, true_last = chunked_memory(*(value.double() for value in inputs), [8192.0])
    # A read sums some 8,192 writes that largely cancel.
    assert (reads - true_reads).abs().max() <= 5e-5 * true_reads.abs().max()
    assert (last - true_last).abs().max() <= 1e-5 * true_last.abs().max()


def test_a_kernel_leaves_denormal_numbers_alone_outside():
    chunked_memory(*make_inputs(), SCALES[:1])
    tiny = torch.full((1 << 17,), 1e-40)
    assert (tiny * 0.5 > 0).all()


@pytest.mark.parametrize("steps", [1, 5])
def test_gradients_pass_gradcheck(steps):
    inputs = [value.double().requires_grad_() for value in make_inputs(2, steps, 2, 2, 2)]
    assert torch.autograd.gradcheck(lambda *leaves: chunked_memory(*leaves, SCALES[:2]), inputs)


@pytest.mark.parametrize("lengths", [None, [3, 6]], ids=str)
def test_the_registration_passes_opcheck(lengths):
    inputs = [value.requires_grad_() for value in make_inputs(2, 6, 2, 3, 2)]
    lengths = None if lengths is None else torch.tensor(lengths)
    registered = torch.ops.mm_rec.chunked_memory.default
    torch.library.opcheck(registered, (*inputs, SCALES[:2], lengths))


@compiles
def test_compiled_without_a_graph_break_it_gives_the_same(assert_close):
    inputs = make_inputs(2, 80, 2, 8, 2)
    compiled = torch.compile(chunked_memory, fullgraph=True)
    actual = results(compiled, inputs, SCALES[:2])
    assert_close(actual, results(chunked_memory, inputs, SCALES[:2]), tolerance=1e-6)


def test_a_loss_of_the_memory_alone_has_gradients():
    inputs = [value.requires_grad_() for value in make_inputs()]
    _, last = chunked_memory(*inputs, SCALES[:1])
    actual = torch.autograd.grad(last.sum(), inputs)
    _, true = chunked_memory(*inputs, SCALES[:1], implementation="reference")
    expected = torch.autograd.grad(true.sum(), inputs, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_the_argument_that_does_not_fit_is_named():
    query, priority, key, first_key, value, memory = make_inputs()

    def run(query=query, first_key=first_key, memory=memory, scales=SCALES[:1], lengths=None):
        return chunked_memory(query, priority, key, first_key, value, memory, scales, lengths)

    with pytest.raises(ShapeError, match=r"priority_logit has shape \(2, 70, 32\); expected"):
        run(query=query[..., :16])
    with pytest.raises(ShapeError, match=r"first_key has shape \(1, 32\); expected \(2, 32\)"):
        run(first_key=first_key[:1])
    with pytest.raises(ShapeError, match=r"memory has shape \(2, 1, 2, 16\); expected \[B, M, H"):
        run(memory=memory[..., 0])
    with pytest.raises(ShapeError, match=r"1 heads of 16; expected heads that make up the D=32"):
        run(memory=memory[:, :, :1])
    with pytest.raises(ConfigError, match=r"time_scales=\[16.0, 128.0\]; expected 1 numbers"):
        run(scales=SCALES[:2])
    with pytest.raises(ConfigError, match=r"time_scales=\[0.0\]; expected 1 numbers above 0"):
        run(scales=[0.0])
    with pytest.raises(ShapeError, match=r"lengths has shape \(3,\) and dtype torch.int64"):
        run(lengths=torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="lengths must lie between 0 and the number of steps"):
        run(lengths=torch.tensor([5, 71]))
    with pytest.raises(ImplementationError, match="expected one of reference, cpu, or None"):
        chunked_memory(
            query, priority, key, first_key, value, memory, SCALES[:1], implementation="triton"
        )
