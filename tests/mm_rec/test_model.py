import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_rec.core.projections import set_hem
from mm_rec.core.state import MMRecState
from mm_rec.errors import ConfigError, ShapeError

TOLERANCE = 1e-5  # fp32, over a few dozen tokens and two layers
SETTINGS = {
    "parallel": {},
    "exact": {"recurrence": "exact"},
    "variance": {"input_scale": "variance"},
}
MODES = pytest.mark.parametrize("mode", SETTINGS)


def trained(model):
    return [weight for weight in model.parameters() if weight.requires_grad]


def assert_same_state(left, right):
    for one, other in zip(left.layers, right.layers, strict=True):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=TOLERANCE)


def assert_same(left, right):
    torch.testing.assert_close(left, right, atol=TOLERANCE, rtol=TOLERANCE)


@MODES
@pytest.mark.parametrize("memories", [0, 1, 3])
def test_no_token_sees_the_future(make_model, make_ids, mode, memories):
    model = make_model(**SETTINGS[mode], num_memories=memories)
    ids = make_ids(1, 90)
    changed = ids.clone()
    changed[0, 70] = (changed[0, 70] + 1) % model.config.vocab_size
    before, after = model(ids).logits, model(changed).logits
    assert_same(before[:, :70], after[:, :70])
    assert (before[:, 70] - after[:, 70]).abs().max() > 1e-3


@MODES
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 79), max_size=4, unique=True))
def test_a_text_fed_in_pieces_equals_the_whole(make_model_once, cuts, mode):
    model, ids = make_model_once(mode)
    whole = model(ids, labels=ids, logits_to_keep=0)
    expected = torch.autograd.grad(whole.loss, trained(model))
    state, logits = None, []
    for part in torch.tensor_split(ids, sorted(cuts), dim=1):
        output = model(part, state=state)
        logits.append(output.logits)
        state = output.state
    logits = torch.cat(logits, dim=1)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert_same(logits, whole.logits)
    assert_same(loss, whole.loss)
    assert_same_state(state, whole.state)
    for gradient, value in zip(torch.autograd.grad(loss, trained(model)), expected, strict=True):
        assert_same(gradient, value)


@pytest.fixture(scope="session")
def make_model_once():
    """Return a model and a text of 80 tokens, made once for all examples of a property."""
    made = {}

    def make(mode):
        if mode not in made:
            from mm_rec.configuration import MMRecConfig
            from mm_rec.model import MMRecForCausalLM

            torch.manual_seed(0)
            sizes = {"vocab_size": 50, "model_dim": 12, "num_layers": 2, "num_heads": 2}
            made[mode] = MMRecForCausalLM(MMRecConfig(**sizes | SETTINGS[mode]))
        return made[mode], torch.randint(50, (2, 80), generator=torch.Generator())

    return make


@MODES
def test_chunk_size_changes_neither_loss_nor_gradients(make_model, make_ids, mode):
    model = make_model(**SETTINGS[mode], use_uboo=True)
    ids = make_ids(2, 75)
    whole = model(ids, labels=ids, logits_to_keep=20)
    chunked = model(ids, labels=ids, logits_to_keep=20, chunk_size=8)
    assert chunked.logits.shape == (2, 20, 50)
    for name in ("logits", "loss", "L_Aux", "cross_entropy"):
        assert_same(chunked[name], whole[name])
    assert_same_state(chunked.state, whole.state)
    for one, other in zip(
        torch.autograd.grad(chunked.loss, trained(model)),
        torch.autograd.grad(whole.loss, trained(model)),
        strict=True,
    ):
        assert_same(one, other)


def test_a_detached_state_cuts_the_gradient_and_nothing_else(make_model, make_ids):
    model = make_model()
    ids = make_ids(1, 20)
    first = model(ids[:, :10]).state
    carried = model(ids, labels=ids, chunk_size=10)
    cut = model(ids, labels=ids, chunk_size=10, detach_state=True)
    assert_same(carried.loss, cut.loss)
    assert any(tensor.requires_grad for tensor in first.layers[0])
    assert not any(tensor.requires_grad for tensor in first.detach().layers[0])
    pairs = zip(
        torch.autograd.grad(carried.loss, trained(model)),
        torch.autograd.grad(cut.loss, trained(model)),
        strict=True,
    )
    assert max((one - other).abs().max() for one, other in pairs) > 1e-4


@MODES
def test_decoding_token_by_token_equals_the_parallel_forward(make_model, make_ids, mode):
    model = make_model(**SETTINGS[mode], num_memories=4)
    ids = make_ids(3, 70)
    with torch.no_grad():
        expected, state, logits = model(ids), None, []
        for token in ids.split(1, dim=1):
            output = model(token, state=state)
            logits.append(output.logits)
            state = output.state
    assert_same(torch.cat(logits, dim=1), expected.logits)
    assert_same_state(state, expected.state)


@MODES
def test_padding_on_either_side_changes_nothing(make_model, make_ids, mode):
    model = make_model(**SETTINGS[mode])
    ids = make_ids(4, 75)
    mask = torch.ones_like(ids)
    mask[0, :11], mask[1, 60:], mask[2, :] = 0, 0, 0
    start = model(make_ids(4, 5, seed=9)).state
    output = model(ids, state=start, attention_mask=mask)
    for row, kept in ((0, slice(11, 75)), (1, slice(0, 60)), (3, slice(0, 75))):
        alone = model(ids[row : row + 1, kept], state=start.select(torch.tensor([row])))
        assert_same(output.logits[row, kept], alone.logits[0])
        assert_same_state(output.state.select(torch.tensor([row])), alone.state)
    only_padding = torch.tensor([2])
    assert_same_state(output.state.select(only_padding), start.select(only_padding))


def test_padding_in_chunks_equals_padding_in_one(make_model, make_ids):
    model = make_model(use_uboo=True)
    ids = make_ids(2, 40)
    mask = torch.ones_like(ids)
    mask[0, :25] = 0
    labels = ids.where(mask.bool(), -100)
    whole = model(ids, labels=labels, attention_mask=mask)
    chunked = model(ids, labels=labels, attention_mask=mask, chunk_size=10)
    assert_same(whole.loss, chunked.loss)
    assert_same_state(whole.state, chunked.state)


@pytest.mark.parametrize("memories", [0, 1])
def test_hem_on_and_off_agree_and_convert_both_ways(make_model, make_ids, memories):
    fused = make_model(use_hem=True, num_memories=memories)
    separate = make_model(use_hem=False, num_memories=memories, seed=5)
    ids = make_ids(2, 40)
    separate.load_state_dict(fused.state_dict())
    assert_same(separate(ids).logits, fused(ids).logits)
    other = make_model(use_hem=True, num_memories=memories, seed=6)
    other.load_state_dict(separate.state_dict())
    assert torch.equal(other(ids).logits, fused(ids).logits)
    set_hem(other, False)
    assert "model.layers.0.hem.e.weight" in other.state_dict()
    assert_same(other(ids).logits, fused(ids).logits)


def test_uboo_exists_only_when_on_and_its_target_gets_no_gradient(make_model, make_ids):
    assert not any("uboo" in name for name, _ in make_model().named_parameters())
    model = make_model(use_uboo=True)
    ids = make_ids(2, 12)
    output = model(ids, labels=ids)
    assert_same(output.loss, output.cross_entropy + output.L_Aux)
    planning = model.model.layers[1].uboo
    previous, hidden = torch.randn(2, 2, 12, 16).requires_grad_().unbind()
    hidden.retain_grad(), previous.retain_grad()
    planning(previous, hidden, None).backward()
    assert hidden.grad is None
    assert planning.W_error.weight.grad is None
    assert previous.grad.abs().sum() > 0
    assert planning.W_target.weight.grad.abs().sum() > 0


def test_l_aux_is_the_weighted_mean_of_the_planning_errors(make_model, make_ids):
    model = make_model(use_uboo=True, lambda_P=0.5)
    ids = make_ids(2, 12)
    errors = []
    for block in model.model.layers:
        block.uboo.register_forward_hook(
            lambda module, args, _: errors.append(module.planning_error(*args[:2]))
        )
    output = model(ids, labels=ids)
    expected = 0.5 * torch.stack(errors).square().sum(-1).mean()
    assert_same(output.L_Aux, expected)


def test_checkpointing_changes_no_gradient(make_model, make_ids):
    model = make_model(dropout=0.1, use_uboo=True).train()
    ids = make_ids(2, 30)

    def gradients():
        torch.manual_seed(3)
        return torch.autograd.grad(model(ids, labels=ids, chunk_size=16).loss, trained(model))

    expected = gradients()
    model.activation_checkpointing_enable()
    for one, other in zip(gradients(), expected, strict=True):
        assert torch.equal(one, other)


def test_the_loss_is_the_cross_entropy_of_the_next_token(make_model, make_ids):
    model = make_model()
    ids = make_ids(2, 30)
    labels = ids.clone()
    labels[0, 5:9] = -100
    output = model(ids, labels=labels, logits_to_keep=0)
    expected = torch.nn.functional.cross_entropy(
        output.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    )
    assert_same(output.loss, expected)
    shifted = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=-100)
    assert_same(model(ids, shift_labels=shifted).loss, expected)
    assert model(ids, labels=labels).logits is None


def test_one_token_and_odd_widths_work(make_model, make_ids):
    model = make_model(model_dim=15, num_heads=3, pe_dim=5, inner_dim=1, ffn_dim=7)
    ids = make_ids(1, 1)
    output = model(ids, labels=ids)
    assert output.loss == 0
    assert model(ids).logits.isfinite().all()


def test_bfloat16_weights_run_and_keep_a_wide_state(make_model, make_ids):
    model = make_model().to(torch.bfloat16)
    output = model(make_ids(2, 40))
    assert output.logits.dtype == torch.bfloat16
    assert output.state.layers[0].hidden.dtype == torch.float32
    assert output.state.layers[0].memory.dtype == torch.float32
    assert model(make_ids(2, 3), state=output.state).logits.isfinite().all()


def test_the_callers_state_is_left_as_it_was(make_model, make_ids):
    model = make_model()
    state = model(make_ids(2, 9)).state
    before = [tensor.clone() for tensor in state.layers[0]]
    model(make_ids(2, 9), state=state)
    for tensor, copy in zip(state.layers[0], before, strict=True):
        assert torch.equal(tensor, copy)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"input_ids": torch.zeros(1, 0, dtype=torch.long)}, ShapeError, r"shape \(1, 0\)"),
        ({"input_ids": torch.zeros(3, dtype=torch.long)}, ShapeError, r"shape \(3,\)"),
        ({"input_ids": torch.zeros(1, 3)}, ShapeError, "float32; expected a tensor of int64"),
        ({"input_ids": torch.tensor([[50]])}, ConfigError, "holds 50 to 50; expected 0 to 49"),
        ({"input_ids": torch.tensor([[-1]])}, ConfigError, "input_ids holds -1 to -1"),
        ({"labels": torch.zeros(2, 4, dtype=torch.long)}, ShapeError, "labels has shape"),
        ({"labels": torch.full((2, 3), 50)}, ConfigError, "labels holds 50 to 50"),
        ({"attention_mask": torch.ones(2, 2)}, ShapeError, r"attention_mask has shape \(2, 2\)"),
        ({"chunk_size": 0}, ConfigError, "chunk_size=0; expected"),
        ({"logits_to_keep": -1}, ConfigError, "logits_to_keep=-1; expected"),
        ({"state": "yesterday"}, ShapeError, "state is a str; expected an MMRecState"),
        ({"output_attentions": True}, ConfigError, "output_attentions=True; expected False"),
    ],
)
def test_bad_input_is_named(make_model, make_ids, call, error, message):
    with pytest.raises(error, match=message):
        make_model()(**{"input_ids": make_ids(2, 3), **call})


def test_a_state_of_another_model_is_refused(make_model, make_ids):
    ids = make_ids(2, 3)
    model = make_model()
    with pytest.raises(ShapeError, match="state has 3 layers; expected 2"):
        model(ids, state=make_model(num_layers=3)(ids).state)
    with pytest.raises(ShapeError, match=r"state\.memory has shape \(2, 1, 2, 8, 8\)"):
        model(ids, state=make_model(num_memories=1)(ids).state)
    with pytest.raises(ShapeError, match=r"state\.gate_input has shape \(1, 16\)"):
        model(ids, state=MMRecState.initial(model.config, 1))


def test_the_training_step_compiles_without_a_graph_break(make_model, make_ids):
    model = make_model(num_memories=1)
    ids = make_ids(2, 70)
    # Graphs and gradients are traced as ever; only the code generator, which is slow, stays out.
    compiled = torch.compile(
        lambda ids: model(ids, labels=ids).loss, fullgraph=True, backend="aot_eager"
    )
    loss = compiled(ids)
    expected = model(ids, labels=ids).loss
    assert_same(loss, expected)
    for one, other in zip(
        torch.autograd.grad(loss, trained(model)),
        torch.autograd.grad(expected, trained(model)),
        strict=True,
    ):
        assert_same(one, other)
