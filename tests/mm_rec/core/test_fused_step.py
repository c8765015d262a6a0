import copy

import pytest
import torch
from torch import nn

from mm_rec.configuration import MMRecConfig
from mm_rec.core.projections import set_hem
from mm_rec.errors import ConfigError, ShapeError
from mm_rec.model import MMRecForCausalLM

V, B = 59, 3
TOLERANCE = 1e-5  # the project's, everywhere


def make_model(**settings):
    torch.manual_seed(0)
    sizes = {"vocab_size": V, "model_dim": 48, "num_layers": 2, "num_memories": 2}
    return MMRecForCausalLM(MMRecConfig(**sizes | settings)).eval()


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def prompt():
    return torch.randint(V, (B, 20), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def one_token(model, prompt, **options):
    """Logits and new state of the last token, after the rest of the prompt."""
    state = model(prompt[:, :-1]).state
    output = model(prompt[:, -1:], state=state, **options)
    return output.logits, output.state


def assert_equals_the_modules(model, prompt, **options):
    logits, state = one_token(model, prompt, **options)
    model.use_fused_step = False
    expected, expected_state = one_token(model, prompt, **options)
    model.use_fused_step = True
    torch.testing.assert_close(logits, expected, atol=TOLERANCE, rtol=0)
    for layer, wanted in zip(state.layers, expected_state.layers, strict=True):
        for tensor, other in zip(layer, wanted, strict=True):
            torch.testing.assert_close(tensor, other, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("recurrence", ["parallel", "exact"])
@pytest.mark.parametrize("use_hem", [True, False])
@pytest.mark.parametrize("num_memories", [0, 1, 3])
def test_a_token_without_gradients_runs_fused_and_equals_the_modules(
    prompt, recurrence, use_hem, num_memories
):
    model = make_model(recurrence=recurrence, use_hem=use_hem, num_memories=num_memories)
    assert model.decoding_implementation == "cpu"
    assert_equals_the_modules(model, prompt)
    assert_equals_the_modules(model, prompt.int(), attention_mask=torch.ones(B, 20))


def test_the_state_given_stays_as_it_was(model, prompt):
    with torch.no_grad():
        state = model(prompt).state
        before = copy.deepcopy(state)
        model(prompt[:, :1], state=state)
    for layer, kept in zip(state.layers, before.layers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(layer, kept, strict=True))


def test_padding_and_hidden_states_run_the_modules(model, prompt):
    mask = torch.ones(B, 1)
    mask[1] = 0
    with torch.no_grad():
        state = model(prompt).state
        masked = model(prompt[:, :1], state=state, attention_mask=mask)
        hidden = model(prompt[:, :1], state=state, output_hidden_states=True)
    assert torch.equal(masked.state.layers[0].hidden[1], state.layers[0].hidden[1])
    assert len(hidden.hidden_states) == 3


def test_gradients_flow_through_a_single_token(model, prompt):
    model(prompt[:, :1]).logits.sum().backward()
    assert model.model.embeddings.weight.grad is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.model.layers[0].W_o.register_forward_hook(lambda *_: None),
        lambda model: model.to(torch.bfloat16),
        lambda model: model.train(),
        lambda model: model.model.layers[1].ffn.__setitem__(0, nn.Identity()),
    ],
    ids=["hook", "bf16", "training", "replaced_module"],
)
def test_what_only_the_modules_can_do_is_left_to_them(model, change):
    assert model.decoding_implementation == "cpu"
    change(model)
    assert model.decoding_implementation == "modules"


def test_autocast_runs_the_modules(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.decoding_implementation == "modules"
    assert model.decoding_implementation == "cpu"


@pytest.mark.parametrize(
    "change",
    [
        lambda model: set_hem(model, False),
        lambda model: nn.init.normal_(model.model.layers[0].W_o.weight),
        lambda model: model.load_state_dict(make_model().state_dict(), assign=True),
        lambda model: model.to(torch.float64).to(torch.float32),
        lambda model: setattr(model.model.layers[0], "W_o", nn.Linear(48, 48)),
    ],
    ids=["unfused", "in_place", "assigned", "moved", "replaced"],
)
def test_weights_that_changed_since_the_last_token_are_seen(model, prompt, change):
    one_token(model, prompt)
    change(model)
    assert model.decoding_implementation == "cpu"
    assert_equals_the_modules(model, prompt)


def test_a_model_that_has_stepped_is_copied(model, prompt):
    expected, _ = one_token(model, prompt)
    assert torch.equal(one_token(copy.deepcopy(model), prompt)[0], expected)


def test_bad_input_is_refused_as_by_the_modules(model, prompt):
    with torch.no_grad():
        state = model(prompt).state
        with pytest.raises(ShapeError, match=r"state\.gate_input has shape"):
            model(prompt[:1, :1], state=state)
        with pytest.raises(ConfigError, match=f"expected 0 to {V - 1}"):
            model(torch.full((B, 1), V), state=state)
        with pytest.raises(ShapeError, match="attention_mask has shape"):
            model(prompt[:, :1], state=state, attention_mask=torch.ones(1, 1))


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_generate_writes_the_same_with_and_without_it(model, prompt, options):
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0} | options
    fused = model.generate(prompt, **options)
    model.use_fused_step = False
    assert torch.equal(model.generate(prompt, **options), fused)
