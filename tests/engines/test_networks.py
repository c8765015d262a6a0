"""Models as functions of tensors, against the models themselves."""

from pathlib import Path

import pytest
import torch

from ivme.engines.networks import (
    CausalStep,
    Seq2seqEncoder,
    Seq2seqStep,
    cache_shapes,
    encoder_inputs,
    encoder_network,
)
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.errors import RefusedError
from ivme.models.loading import LoadedModel, load_model
from ivme.models.presets import preset_folder

Models = dict[str, LoadedModel]
TOLERANCE = 1e-5  # float32 sums in another order when a text is read in parts


def ids_and_mask(rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(10, 1000, (rows, length), generator=torch.Generator().manual_seed(0))
    return ids, torch.ones_like(ids)


def no_states(model: LoadedModel, rows: int) -> list[torch.Tensor]:
    return [torch.zeros(rows, heads, 0, size) for heads, size in cache_shapes(model)]


@torch.inference_mode()
def test_a_prompt_read_in_parts_gives_the_logits_of_the_whole(models: Models) -> None:
    model = models["causal"]
    step = CausalStep(model.model)
    ids, mask = ids_and_mask(2, 9)
    mask[0, :3] = 0
    whole, *states = step(ids, mask, *no_states(model, 2))

    first, *between = step(ids[:, :4], mask[:, :4], *no_states(model, 2))
    last, *after = step(ids[:, 4:], mask, *between)

    torch.testing.assert_close(last, whole, rtol=0, atol=TOLERANCE)
    assert [tuple(state.shape) for state in after] == [tuple(state.shape) for state in states]
    assert not torch.allclose(first, whole, rtol=0, atol=100 * TOLERANCE)


@torch.inference_mode()
def test_padding_on_the_left_does_not_change_a_texts_logits(models: Models) -> None:
    model = models["causal"]
    step = CausalStep(model.model)
    ids, mask = ids_and_mask(1, 5)
    alone = step(ids, mask, *no_states(model, 1))[0]

    padded = step(
        torch.nn.functional.pad(ids, (4, 0), value=7),
        torch.nn.functional.pad(mask, (4, 0)),
        *no_states(model, 1),
    )[0]

    torch.testing.assert_close(padded, alone, rtol=0, atol=TOLERANCE)


@torch.inference_mode()
def test_a_decoder_fed_token_by_token_gives_the_logits_of_the_whole(models: Models) -> None:
    model = models["seq2seq"]
    ids, mask = ids_and_mask(2, 7)
    mask[1, 5:] = 0
    written = torch.tensor([[0, 11, 12], [0, 13, 14]])
    whole = model.model(input_ids=ids, attention_mask=mask, decoder_input_ids=written).logits

    step, own = Seq2seqStep(model.model), no_states(model, 2)
    cross = Seq2seqEncoder(model.model)(ids, mask)
    for number in range(3):
        logits, *own = step(written[:, number : number + 1], mask, *own, *cross)
        torch.testing.assert_close(logits, whole[:, number], rtol=0, atol=TOLERANCE)

    assert {state.shape[2] for state in cross} == {7}
    assert {state.shape[2] for state in own} == {3}


@torch.inference_mode()
def test_an_encoders_function_answers_as_the_model(models: Models) -> None:
    for kind in ("classifier", "masked", "embedding"):
        model = models[kind]
        names = encoder_inputs(model)
        ids, mask = ids_and_mask(2, 6)
        mask[0, 4:] = 0
        if kind == "masked":
            ids[0, 2] = ids[1, 1] = model.tokenizer.mask_token_id
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
        output = model.model(**inputs)
        expected = {
            "classifier": lambda output=output: output.logits,
            "masked": lambda output=output: output.logits[[0, 1], [2, 1]],
            "embedding": lambda output=output, model=model, mask=mask: model.pooling.apply(
                output.last_hidden_state, mask
            ),
        }[kind]()

        answer = encoder_network(model)(*(inputs[name] for name in names))

        torch.testing.assert_close(answer, expected, rtol=0, atol=TOLERANCE)


def test_a_wrapper_leaves_and_keeps_the_model_in_evaluation_mode(models: Models) -> None:
    """Exporters put back the mode in which they find the wrapper."""
    network = encoder_network(models["classifier"])

    assert not network.training
    assert not any(module.training for module in network.modules())


def test_a_model_with_other_states_than_keys_and_values_is_refused() -> None:
    model = load_model("preset:mm-rec-1m-char")

    with pytest.raises(RefusedError, match=r"MMRecForCausalLM.*keys and values alone"):
        cache_shapes(model)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_token_types_that_only_the_tokenizer_knows_are_left_out(
    engine: str, tmp_path: Path
) -> None:
    """DistilBERT has none, and swallows any argument: its file lacked what it was then fed."""
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(preset_folder("bert-tiny"))
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, n_heads=2, n_layers=1, hidden_dim=64
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        DistilBertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load_model(str(tmp_path))
    assert "token_type_ids" in model.tokenizer.model_input_names
    assert encoder_inputs(model) == ("input_ids", "attention_mask")
    text = "Return the value."
    session = get_engine(engine).prepare(model, EngineOptions(precision="float32"))
    [found] = session.predict([text])
    [expected] = get_engine("transformers").prepare(model, EngineOptions()).predict([text])
    session.close()
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-4)
