import copy
import os
import random
import subprocess
import sys

import pytest
import torch

import mm_rec_scan_cpu
from mm_rec.configuration import MMRecConfig
from mm_rec.core.fused_step import decode_weights, stack_state
from mm_rec.core.state import MMRecState
from mm_rec.errors import ConfigError, ImplementationError
from mm_rec.model import MMRecForCausalLM
from mm_rec.ops.decode import cpu, reference
from mm_rec.ops.dispatch import load

RUNS_TRITON = torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"
V, STEPS, B = 53, 120, 3
# What fp32 leaves over hundreds of steps; the project's tolerance everywhere.
TOLERANCE = 1e-5

MODELS = {
    "parallel": {},
    "exact": {"recurrence": "exact"},
    "variance": {"input_scale": "variance"},
    "without_memory": {"num_memories": 0},
    "exact_without_memory": {"num_memories": 0, "recurrence": "exact"},
    "two_banks_and_a_narrow_gate": {"num_memories": 2, "pe_dim": 16},
    "four_banks_and_no_fused_product": {"num_memories": 4, "use_hem": False},
    "odd_widths": {"model_dim": 51, "num_heads": 3, "inner_dim": 7, "ffn_dim": 37, "pe_dim": 17},
    "one_channel": {"model_dim": 1, "num_heads": 1, "num_layers": 1},
    "wide_enough_for_threads": {"model_dim": 256, "ffn_dim": 1024, "num_layers": 1},
}


def make_model(**settings):
    sizes = {"vocab_size": V, "model_dim": 64, "num_layers": 3}
    torch.manual_seed(0)
    model = MMRecForCausalLM(MMRecConfig(**sizes | settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # no weight is left at a special value
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return make_model(**MODELS[request.param])


@pytest.fixture(scope="module")
def ids():
    return torch.randint(V, (B, STEPS), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def truth(model, ids):
    """Logits and last state of the parallel forward in float64."""
    with torch.no_grad():
        output = copy.deepcopy(model).double()(ids)
    return output.logits, stack_state(output.state)


def initial(model, batch=B, dtype=torch.float32, device="cpu"):
    return stack_state(MMRecState.initial(model.config, batch, device, dtype))


def run(decode_step, model, ids, state):
    weights = decode_weights(model)
    logits = [decode_step(weights, column.contiguous(), state) for column in ids.unbind(1)]
    return torch.stack(logits, dim=1)


def assert_close(logits, state, truth, tolerance=TOLERANCE):
    torch.testing.assert_close(logits.double().cpu(), truth[0], atol=tolerance, rtol=tolerance)
    for part, expected in zip(state, truth[1], strict=True):
        torch.testing.assert_close(part.double().cpu(), expected, atol=tolerance, rtol=tolerance)


def test_the_reference_equals_the_parallel_forward(model, ids, truth):
    state = initial(model, dtype=torch.float64)
    logits = run(reference.decode_step, copy.deepcopy(model).double(), ids, state)
    assert_close(logits, state, truth, tolerance=1e-10)


@pytest.mark.parametrize("instruction_set", mm_rec_scan_cpu.instruction_sets())
def test_the_kernel_equals_the_parallel_forward(
    model, ids, truth, instruction_set, forced_instruction_set
):
    forced_instruction_set(instruction_set)
    state = initial(model)
    assert_close(run(cpu.decode_step, model, ids, state), state, truth)


@pytest.mark.skipif(not RUNS_TRITON, reason="no CUDA device; the interpreter runs it below")
@pytest.mark.parametrize("banks", [1, 3])
@pytest.mark.parametrize(("heads", "width", "repeats"), [(2, 16, 1), (3, 5, 5), (1, 32, 4)])
def test_triton_writes_and_reads_as_the_reference(banks, heads, width, repeats):
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    channels = heads * width
    vectors = [torch.randn(2, n) for n in (channels, channels // repeats, channels, channels)]
    memory = torch.randn(2, banks, heads, width, width)
    rest = [torch.rand(banks), torch.randn(banks, heads)]
    true_memory = memory.double()
    expected = reference.read_memory_step(
        *(t.double() for t in vectors), true_memory, *(t.double() for t in rest)
    )
    memory = memory.to(device)
    read = load("decode", "triton").read_memory_step
    context = read(*(t.to(device) for t in vectors), memory, *(t.to(device) for t in rest))
    torch.testing.assert_close(context.double().cpu(), expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(memory.double().cpu(), true_memory, atol=TOLERANCE, rtol=0)


@pytest.mark.skipif(not RUNS_TRITON, reason="no CUDA device; the interpreter runs it below")
def test_triton_steps_as_the_reference():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = make_model(num_layers=2, num_memories=2, pe_dim=16).to(device)
    ids = torch.arange(4, device=device).unsqueeze(0)
    state, expected_state = initial(model, 1, device=device), initial(model, 1, device=device)
    logits = run(load("decode", "triton").decode_step, model, ids, state)
    expected = run(reference.decode_step, model, ids, expected_state)
    torch.testing.assert_close(logits, expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(state.memory, expected_state.memory, atol=TOLERANCE, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(RUNS_TRITON, reason="runs directly")
def test_triton_passes_under_the_interpreter():
    # The variable must be there before triton is imported for the first time: a fresh process.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    command += ["-k", "triton_writes or triton_steps"]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:]
    assert "7 passed" in result.stdout


def test_triton_without_a_device_says_how_to_run_it():
    if RUNS_TRITON:
        pytest.skip("Triton runs here")
    model = make_model()
    with pytest.raises(ImplementationError, match="takes CUDA tensors, not cpu"):
        load("decode", "triton").decode_step(
            decode_weights(model), torch.zeros(B, dtype=torch.int64), initial(model)
        )


def test_threads_agree_with_one_alone():
    model = make_model(**MODELS["wide_enough_for_threads"])
    weights, ids = decode_weights(model), torch.arange(16)
    results, before = [], torch.get_num_threads()
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(cpu.decode_step(weights, ids, initial(model, 16)))
    torch.set_num_threads(before)
    torch.testing.assert_close(results[1], results[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(results[2], results[0], atol=1e-6, rtol=0)


def test_the_kernel_sees_weights_that_change_in_place():
    model = make_model()
    weights, ids = decode_weights(model), torch.tensor([3])
    before = cpu.decode_step(weights, ids, initial(model, 1))
    with torch.no_grad():
        model.model.layers[0].W_o.weight.mul_(2)
    after = cpu.decode_step(weights, ids, initial(model, 1))
    expected = reference.decode_step(weights, ids, initial(model, 1))
    assert not torch.allclose(before, after, atol=1e-4)
    torch.testing.assert_close(after, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("value", [-1, V, 2**40])
def test_an_id_out_of_range_is_named(value):
    model = make_model()
    with pytest.raises(ConfigError, match=f"ids hold {value}; expected 0 to {V - 1}"):
        cpu.decode_step(decode_weights(model), torch.tensor([value]), initial(model, 1))


def test_a_state_of_another_batch_is_refused():
    model = make_model()
    with pytest.raises(ConfigError, match=r"gate_input must have shape \[3, 2, 64\]"):
        cpu.decode_step(decode_weights(model), torch.tensor([1, 2]), initial(model, 3))


def test_other_dtypes_are_refused():
    model = make_model()
    state = initial(model, 1, dtype=torch.float64)
    with pytest.raises(ConfigError, match="contiguous float32 on the CPU"):
        cpu.decode_step(decode_weights(model), torch.tensor([1]), state)
    with pytest.raises(ConfigError, match="expected ids of int64"):
        cpu.decode_step(decode_weights(model), torch.tensor([1.0]), initial(model, 1))


def test_weights_that_do_not_fit_are_named():
    model = make_model()
    for name in ("k.weight", "norm2", "mdi_state.weight"):
        weights = decode_weights(model)
        weights.layers[1][name] = torch.zeros(2, 3)
        with pytest.raises(ConfigError, match=rf"layers\[1\]\.{name} must"):
            cpu.decode_step(weights, torch.tensor([1]), initial(model, 1))
        del weights.layers[1][name]
        with pytest.raises(ConfigError, match=rf"layers\[1\]\.{name} is missing"):
            cpu.decode_step(weights, torch.tensor([1]), initial(model, 1))


def test_no_argument_crashes_the_binding():
    draw = random.Random(0)
    model = make_model()
    weights = decode_weights(model)
    cpu.decode_step(weights, torch.tensor([1]), initial(model, 1))
    kernel = weights.bound["cpu"]
    good = [torch.tensor([1]), *initial(model, 1), torch.empty(1, V), 1]
    odd = [
        None, 0, -1, 2**70, "x", [], torch.empty(0), torch.empty(0, dtype=torch.int64),
        torch.empty(1, V, dtype=torch.bfloat16), torch.empty(3, 0, 64), torch.tensor(1),
        torch.empty(64, 1, 3).transpose(0, 2), torch.empty(1, V, 2)[..., 0], object(),
    ]  # fmt: skip
    for _ in range(300):
        arguments = list(good)
        places = draw.sample(range(6), draw.randint(1, 3))  # any number of threads is fine
        for place in places:
            arguments[place] = draw.choice(odd)
        with pytest.raises((TypeError, ValueError)):
            kernel.step(*arguments)


def test_no_widths_crash_the_binding():
    draw = random.Random(0)
    weights = decode_weights(make_model())
    names = ("model", "heads", "priority", "inner", "ffn", "memories", "vocabulary")
    good = dict(zip(names, (64, 4, 64, 16, 256, 1, V), strict=True))
    rest = ({"embedding": weights.embedding, "norm": weights.norm}, list(weights.layers))
    kind = mm_rec_scan_cpu._native.DecodeModel
    kind(good, *rest, [16.0], 1e-6, False, False)
    for _ in range(200):
        widths = dict(good)
        widths[draw.choice(names)] = draw.choice([-1, 3, 2**39, 2**62, 2**70, "x", None])
        with pytest.raises((TypeError, ValueError)):
            kind(widths, *rest, [16.0], 1e-6, False, False)
