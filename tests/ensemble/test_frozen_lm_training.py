import pytest
import torch
from styles import styled_texts
from torch import nn

from ivme.engines.batching import Batching, predict_all
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.ensemble import frozen_lm_training
from ivme.ensemble.frozen_lm_training import FrozenLMSettings, make_frozen_lm, train_frozen_lm
from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.errors import ModelNotFoundError, UsageError
from ivme.models.loading import load_model

LABELS = ("human", "machine")
BASE = "preset:gpt2-tiny"


def styled(count: int) -> LabeledTexts:
    texts, labels = styled_texts(count, LABELS)
    return LabeledTexts(texts=tuple(texts), labels=tuple(labels))


def test_it_learns_styles_from_a_language_model_that_knows_nothing(tmp_path):
    lines: list[str] = []
    facts = train_frozen_lm(
        "LM",
        styled(160),
        LABELS,
        tmp_path / "LM",
        settings=FrozenLMSettings(base=BASE),
        progress=lines.append,
    )
    assert facts["rows"] == 368  # each text, 15% of them once more, and a beginning of each
    assert facts["train_accuracy"] > 0.9
    assert facts["texts"] == 160
    assert lines[0] == f"Training LM: {BASE} reads 160 texts on cpu..."
    assert any(line.startswith("Read ") for line in lines)
    model = load_model(str(tmp_path / "LM"))
    assert model.labels == LABELS
    new = styled(240)

    found = predict_all(
        get_engine("transformers").prepare(model, EngineOptions()), new.texts[160:], Batching()
    )
    right = [one.label == label for one, label in zip(found, new.labels[160:], strict=True)]
    assert sum(right) / len(right) > 0.75


def test_the_networks_that_are_trained_apart_become_one_that_says_their_mean(monkeypatch):
    seen, apart = [], []

    def fitted(inputs, rows, label_count):
        pair = nn.Linear(inputs.shape[1], 128), nn.Linear(128, label_count)
        seen.append((inputs, rows))
        apart.append(nn.Sequential(pair[0], nn.GELU(), pair[1]))
        return pair

    monkeypatch.setattr(frozen_lm_training, "_fit_network", fitted)
    model, _ = make_frozen_lm(FrozenLMSettings(base=BASE), LABELS)
    features = torch.randn(6, len(model.center))
    features[3:] += 100  # rows that count less do not say what is usual
    rows = frozen_lm_training._Rows(
        features, torch.tensor([0, 1] * 3), torch.tensor([1.0] * 3 + [0.1] * 3)
    )
    with torch.no_grad():
        frozen_lm_training._fit_head(model, rows)
        inputs = model.scaled(features)
        together = torch.stack([network(inputs) for network in apart]).mean(dim=0)
        assert len(apart) == 3
        assert torch.allclose(model.score(inputs), together, atol=1e-5)
    assert all(rows is same and torch.equal(inputs, one) for one, same in seen)
    assert torch.allclose(inputs[:3].mean(dim=0), torch.zeros(len(model.center)), atol=1e-5)


def test_its_language_model_stays_as_it_was(tmp_path):
    train_frozen_lm("LM", styled(8), LABELS, tmp_path / "LM", settings=FrozenLMSettings(base=BASE))
    before = load_model(BASE).model.state_dict()
    after = load_model(str(tmp_path / "LM")).model.language_model.state_dict()
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)


def test_of_a_large_vocabulary_frequent_tokens_and_those_of_the_texts_are_compared(monkeypatch):
    monkeypatch.setattr(frozen_lm_training, "LARGE_VOCABULARY", 300)
    monkeypatch.setattr(frozen_lm_training, "COMMON_TOKENS", 40)
    texts = styled(12).texts
    model, tokenizer = make_frozen_lm(FrozenLMSettings(base=BASE), LABELS, texts)
    seen = {number for text in texts for number in tokenizer(text)["input_ids"]}
    assert set(model.compared.tolist()) == seen | set(range(40))
    assert (
        model.config.compared_tokens
        == len(model.compared)
        < model.config.language_model["vocab_size"]
    )
    everything, _ = make_frozen_lm(FrozenLMSettings(base=BASE), LABELS)
    assert everything.config.compared_tokens == 0


def test_a_tokenizer_that_puts_a_start_before_texts_leaves_that_to_the_member(tmp_path):
    base = load_model(BASE)
    tokenizer = base.tokenizer
    tokenizer.add_bos_token = True
    assert tokenizer("a text")["input_ids"][0] == tokenizer.bos_token_id
    base.model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    _, found = make_frozen_lm(FrozenLMSettings(base=str(tmp_path)), LABELS)
    assert tokenizer.bos_token_id not in found("a text")["input_ids"]


def test_the_same_seed_gives_the_same_member(tmp_path):
    settings = FrozenLMSettings(base=BASE)
    found = []
    for folder in ("a", "b"):
        train_frozen_lm("LM", styled(12), LABELS, tmp_path / folder, settings=settings)
        found.append((tmp_path / folder / "model.safetensors").read_bytes())
    assert found[0] == found[1]


def test_three_labels_are_learned_too(tmp_path):
    texts, labels = styled_texts(12, LABELS)
    three = LabeledTexts(texts=tuple(texts), labels=("x", *labels[1:]))
    train_frozen_lm(
        "LM", three, three.label_set, tmp_path / "LM", settings=FrozenLMSettings(base=BASE)
    )
    assert load_model(str(tmp_path / "LM")).labels == ("human", "machine", "x")


def test_a_base_that_does_not_predict_the_next_token_is_refused(tmp_path):
    settings = FrozenLMSettings(base="preset:bert-tiny")
    with pytest.raises(UsageError, match=r"is a classifier model .* give a decoder"):
        train_frozen_lm("LM", styled(8), LABELS, tmp_path / "LM", settings=settings)


def test_a_base_that_is_not_there_is_named(tmp_path):
    settings = FrozenLMSettings(base=str(tmp_path / "nowhere"))
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        train_frozen_lm("LM", styled(8), LABELS, tmp_path / "LM", settings=settings)


@pytest.mark.parametrize(
    "wrong", [{"max_length": 10}, {"threads": 0}, {"changed_share": 1.5}, {"changed_share": -1}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match="expected 40 tokens or more"):
        FrozenLMSettings(base=BASE, **wrong)
