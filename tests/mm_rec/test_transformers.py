import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, pipeline

import mm_rec

MODES = pytest.mark.parametrize("recurrence", ["parallel", "exact"])


@pytest.fixture(autouse=True)
def registered():
    mm_rec.register()
    mm_rec.register()


def continue_greedily(model, ids, count):
    """Return ids and `count` more, each found from the whole text again, without any state."""
    for _ in range(count):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    return ids


def test_a_saved_model_loads_through_the_auto_classes(make_model, make_ids, tmp_path):
    model, ids = make_model(num_memories=3), make_ids(2, 20)
    model.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).memory_time_scales == [128.0, 1024.0, 8192.0]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.model.embeddings.weight
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    stack = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(stack(ids).last_hidden_state, model.model(ids).last_hidden_state)


@pytest.mark.parametrize("saved_with", [True, False])
def test_a_saved_model_loads_with_hem_switched(make_model, make_ids, tmp_path, saved_with):
    model, ids = make_model(use_hem=saved_with), make_ids(2, 20)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, use_hem=not saved_with)
    assert loaded.config.use_hem is not saved_with
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-5)


@MODES
def test_greedy_generation_equals_the_model_run_from_the_start(make_model, make_ids, recurrence):
    model, ids = make_model(recurrence=recurrence), make_ids(2, 9)
    expected = continue_greedily(model, ids, 8)
    assert torch.equal(model.generate(ids, max_new_tokens=8, do_sample=False), expected)
    uncached = model.generate(ids, max_new_tokens=8, do_sample=False, use_cache=False)
    assert torch.equal(uncached, expected)


def test_generation_goes_on_from_a_given_state_and_leaves_it_alone(make_model, make_ids):
    model, ids = make_model(), make_ids(1, 12)
    state = model(ids[:, :7]).state
    before = state.layers[0].hidden.clone()
    for beams in (1, 2):
        goes_on = model.generate(
            ids[:, 7:], state=state, max_new_tokens=6, do_sample=False, num_beams=beams
        )
        assert goes_on.shape == (1, 11)
        assert torch.equal(state.layers[0].hidden, before)
    greedy = model.generate(ids[:, 7:], state=state, max_new_tokens=6, do_sample=False)
    assert torch.equal(greedy, continue_greedily(model, ids, 6)[:, 7:])


def test_sampling_draws_the_same_with_and_without_the_state(make_model, make_ids):
    model, ids = make_model(), make_ids(3, 9)
    drawn = []
    for use_cache in (True, False):
        torch.manual_seed(0)
        drawn.append(model.generate(ids, max_new_tokens=9, do_sample=True, use_cache=use_cache))
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], model.generate(ids, max_new_tokens=9, do_sample=False))


def test_beam_search_finds_the_same_with_and_without_the_state(make_model, make_ids):
    model, ids = make_model(), make_ids(2, 9)
    settings = {"max_new_tokens": 10, "num_beams": 4, "do_sample": False}
    with_state = model.generate(ids, **settings)
    assert torch.equal(with_state, model.generate(ids, **settings, use_cache=False))


@MODES
@pytest.mark.parametrize("beams", [1, 3])
def test_a_left_padded_batch_generates_what_each_text_does_alone(
    make_model, make_ids, recurrence, beams
):
    model, ids = make_model(recurrence=recurrence), make_ids(3, 12)
    mask = torch.ones_like(ids)
    mask[0, :7], mask[1, :2] = 0, 0
    settings = {"max_new_tokens": 8, "do_sample": False, "num_beams": beams, "pad_token_id": 0}
    together = model.generate(ids, attention_mask=mask, **settings)
    for row, start in enumerate((7, 2, 0)):
        text = ids[row : row + 1, start:]
        alone = model.generate(text, attention_mask=torch.ones_like(text), **settings)
        assert torch.equal(together[row, start:], alone[0])


def test_the_cache_does_not_grow_with_the_text(make_model, make_ids):
    model = make_model()

    def numbers(tokens):
        output = model.generate(
            make_ids(1, tokens), max_new_tokens=3, do_sample=False, return_dict_in_generate=True
        )
        return sum(t.numel() for layer in output.past_key_values.layers for t in layer)

    assert numbers(2) == numbers(200)


def test_the_pipeline_continues_a_text(make_model, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", *"abcdefgh"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", padding_side="left"
    )
    model = make_model(vocab_size=len(words))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    generate = pipeline("text-generation", model=str(tmp_path))
    settings = {"max_new_tokens": 4, "do_sample": False, "return_tensors": True}
    texts = ["a b c d e", "f"]
    alone = [generate(text, **settings)[0]["generated_token_ids"] for text in texts]
    together = generate(texts, batch_size=2, **settings)
    assert [answer[0]["generated_token_ids"][-4:] for answer in together] == [
        ids[-4:] for ids in alone
    ]
    assert alone[0] == continue_greedily(model, torch.tensor([[2, 3, 4, 5, 6]]), 4)[0].tolist()


def test_importing_the_package_loads_no_heavy_library():
    code = "import sys, mm_rec; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
