import pytest
import torch

from mm_rec.configuration import MMRecConfig
from mm_rec.core.session import load_session, save_session
from mm_rec.core.state import MMRecState
from mm_rec.decoding import Decoder
from mm_rec.errors import ConfigError, ImplementationError, ShapeError
from mm_rec.model import MMRecForCausalLM
from mm_rec.sampling import Sampling

V, B, T = 61, 2, 150
TOLERANCE = 1e-5  # the project's, everywhere


def make_model(**settings):
    torch.manual_seed(0)
    sizes = {"vocab_size": V, "model_dim": 48, "num_layers": 2, "num_memories": 2}
    return MMRecForCausalLM(MMRecConfig(**sizes | settings)).eval()


MODES = {
    "parallel": {},
    "exact": {"recurrence": "exact"},
    "variance": {"input_scale": "variance"},
}


@pytest.fixture(scope="module", params=MODES)
def model(request):
    return make_model(**MODES[request.param])


@pytest.fixture(scope="module")
def ids():
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def whole(model, ids):
    with torch.no_grad():
        return model(ids)


def step_through(decoder, ids):
    return torch.stack([decoder.step(column.contiguous()) for column in ids.unbind(1)], dim=1)


def assert_same_state(state, expected):
    for layer, wanted in zip(state.layers, expected.layers, strict=True):
        for tensor, other in zip(layer, wanted, strict=True):
            torch.testing.assert_close(tensor, other, atol=TOLERANCE, rtol=TOLERANCE)


def test_steps_equal_the_parallel_forward(model, ids, whole):
    decoder = Decoder(model, batch_size=B)
    assert decoder.implementation == "cpu"
    logits = step_through(decoder, ids)
    torch.testing.assert_close(logits, whole.logits, atol=TOLERANCE, rtol=0)
    assert_same_state(decoder.state, whole.state)


@pytest.mark.parametrize("cut", [1, 63, 64, 149])
def test_steps_after_reading_a_prompt_equal_the_whole(model, ids, whole, cut):
    decoder = Decoder(model, batch_size=B)
    first = decoder.read(ids[:, :cut])
    torch.testing.assert_close(first, whole.logits[:, cut - 1], atol=TOLERANCE, rtol=0)
    logits = step_through(decoder, ids[:, cut:])
    torch.testing.assert_close(logits, whole.logits[:, cut:], atol=TOLERANCE, rtol=0)


def test_the_forward_goes_on_from_a_decoder_and_back(model, ids, whole):
    decoder = Decoder(model, batch_size=B)
    step_through(decoder, ids[:, :40])
    with torch.no_grad():
        middle = model(ids[:, 40:90], state=decoder.state)
    logits = step_through(Decoder(model, state=middle.state), ids[:, 90:])
    torch.testing.assert_close(logits, whole.logits[:, 90:], atol=TOLERANCE, rtol=0)


def test_a_decoder_leaves_the_state_it_is_given_as_it_was(model, ids, whole):
    before = whole.state.layers[0].hidden.clone()
    decoder = Decoder(model, state=whole.state)
    kept = decoder.state
    decoder.step(ids[:, 0].contiguous())
    assert torch.equal(whole.state.layers[0].hidden, before)
    assert torch.equal(kept.layers[0].hidden, before)
    assert not torch.equal(decoder.state.layers[0].hidden, before)


def test_a_session_saved_between_steps_goes_on(model, ids, whole, tmp_path):
    decoder = Decoder(model, batch_size=B)
    step_through(decoder, ids[:, :100])
    save_session(tmp_path / "session.safetensors", decoder.state, model)
    state = load_session(tmp_path / "session.safetensors", model)
    logits = step_through(Decoder(model, state=state), ids[:, 100:])
    torch.testing.assert_close(logits, whole.logits[:, 100:], atol=TOLERANCE, rtol=0)


def test_a_stream_picks_what_the_forward_would(model, ids):
    picked = torch.stack(list(Decoder(model, batch_size=B).stream(ids, max_new_tokens=20)), dim=1)
    with torch.no_grad():
        logits = model(torch.cat([ids, picked], dim=1)).logits[:, T - 1 : -1]
    assert torch.equal(picked, logits.argmax(-1))


def test_a_seed_fixes_a_sampled_stream(model, ids):
    def sample():
        generator = torch.Generator().manual_seed(7)
        options = {"sampling": Sampling(temperature=1.0, top_k=20), "generator": generator}
        stream = Decoder(model, batch_size=B).stream(ids, max_new_tokens=10, **options)
        return torch.stack(list(stream))

    assert torch.equal(sample(), sample())


def test_a_model_in_training_decodes_without_dropout(ids):
    model = make_model(dropout=0.5, use_uboo=True)
    expected = Decoder(model, batch_size=B).read(ids)
    model.train()
    decoder = Decoder(model, batch_size=B)
    assert torch.equal(decoder.read(ids), expected)
    assert model.training
    assert decoder.step(ids[:, 0].contiguous()).requires_grad is False


def test_narrow_weights_run_the_reference_and_say_so(ids):
    model = make_model().to(torch.bfloat16)
    decoder = Decoder(model, batch_size=B)
    assert decoder.implementation == "reference"
    assert decoder.step(ids[:, 0]).dtype == torch.bfloat16
    with pytest.raises(ImplementationError, match="takes float32 weights, not"):
        Decoder(model, implementation="cpu")


def test_an_unknown_implementation_is_refused(model):
    with pytest.raises(ImplementationError, match="implementation='gpu'; expected one of"):
        Decoder(model, implementation="gpu")


@pytest.mark.parametrize("batch_size", [0, True, 1.5])
def test_a_batch_of_no_texts_is_refused(model, batch_size):
    with pytest.raises(ConfigError, match=r"batch_size=.*expected a number of at least 1"):
        Decoder(model, batch_size=batch_size)


def test_ids_that_do_not_fit_are_refused(model, ids):
    decoder = Decoder(model, batch_size=B)
    with pytest.raises(ShapeError, match=r"ids are torch.Size\(\[3\]\); expected .* \(2,\)"):
        decoder.step(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ShapeError, match="input_ids hold 1 texts; expected 2"):
        decoder.read(ids[:1])
    with pytest.raises(ConfigError, match=f"ids hold {V}"):
        decoder.step(torch.tensor([0, V]))
    reference = Decoder(model, batch_size=B, implementation="reference")
    with pytest.raises(ConfigError, match=f"input_ids holds 0 to {V}"):
        reference.step(torch.tensor([0, V]))


def test_a_state_of_another_model_is_refused(model):
    state = MMRecState.initial(MMRecConfig(vocab_size=V, model_dim=32, num_layers=2), B)
    with pytest.raises(ShapeError, match=r"state\.gate_input has shape"):
        Decoder(model, state=state)
