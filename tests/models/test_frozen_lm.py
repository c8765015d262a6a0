import pytest
import torch

from ivme.engines.batching import Batching, predict_all
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.models.frozen_lm import (
    FIGURES,
    TIE,
    VOCABULARY_CHUNK,
    Reading,
    features,
    figures,
    token_scores,
)
from ivme.models.loading import load_model

TEXTS = (
    "The kettle boiled over while nobody was looking at it.",
    "A short one.",
    "Of three words the second is the longest, which is said to be no accident at all.",
)


@pytest.fixture(scope="module", params=["all tokens", "some tokens"])
def member(request, tmp_path_factory):
    """Return a member on a tiny language model, with a network that tells something apart."""
    from ivme.ensemble import frozen_lm_training
    from ivme.ensemble.frozen_lm_training import FrozenLMSettings, make_frozen_lm

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "some tokens":
            patch.setattr(frozen_lm_training, "LARGE_VOCABULARY", 100)
            patch.setattr(frozen_lm_training, "COMMON_TOKENS", 50)
        settings = FrozenLMSettings(base="preset:gpt2-tiny")
        model, tokenizer = make_frozen_lm(settings, ("no", "yes"), TEXTS[:2])
    assert (model.config.compared_tokens > 0) == (request.param == "some tokens")
    folder = tmp_path_factory.mktemp("member")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(str(folder))


def scores_by_softmax(logits, targets):
    logs = torch.log_softmax(logits.double(), dim=-1)
    own = logs.gather(-1, targets[..., None])
    entropy = -(logs.exp() * logs).sum(dim=-1)
    variance = (logs.exp() * logs**2).sum(dim=-1) - entropy**2
    likelier = torch.clamp((logs - own) / TIE + 0.5, 0, 1).sum(dim=-1)
    return torch.stack([-own[..., 0], entropy, variance, torch.log1p(likelier)], dim=-1)


@pytest.mark.parametrize("vocabulary", [7, VOCABULARY_CHUNK, VOCABULARY_CHUNK + 1])
@pytest.mark.parametrize("size", [0.1, 5.0])
def test_scores_in_chunks_equal_those_of_a_whole_softmax(vocabulary, size):
    torch.manual_seed(1)
    hidden, head = torch.randn(2, 5, 8), torch.randn(vocabulary, 8) * size / 3
    targets = torch.randint(vocabulary, (2, 5))
    found = token_scores(hidden, head, targets)
    torch.testing.assert_close(
        found.double(), scores_by_softmax(hidden @ head.T, targets), rtol=1e-3, atol=1e-3
    )


def test_scores_beside_some_tokens_are_those_of_a_vocabulary_of_them_and_the_target():
    torch.manual_seed(3)
    hidden, head = torch.randn(1, 4, 8), torch.randn(50, 8)
    compared = torch.tensor([0, 3, 7, 8, 20, 49])
    targets = torch.tensor([[3, 49, 5, 31]])  # two are among them
    found = token_scores(hidden, head, targets, compared)
    for at, target in enumerate(targets[0].tolist()):
        small = sorted({*compared.tolist(), target})
        expected = scores_by_softmax(
            hidden[:, at : at + 1] @ head[small].T, torch.tensor([[small.index(target)]])
        )
        torch.testing.assert_close(found[:, at : at + 1].double(), expected, rtol=1e-3, atol=1e-3)


def test_a_token_that_no_model_would_expect_has_finite_scores():
    head = torch.tensor([[1.0], [-1.0]])
    found = token_scores(torch.tensor([[[500.0]]]), head, torch.tensor([[1]]))
    assert torch.isfinite(found).all()


def test_padding_changes_no_figure():
    torch.manual_seed(2)
    scores, mask = torch.rand(3, 20, 4) * 5, torch.ones(3, 20)
    padded = torch.cat([scores, torch.full((3, 7, 4), 9.0)], dim=1)
    longer = torch.cat([mask, torch.zeros(3, 7)], dim=1)
    found = figures(scores, mask)
    assert found.shape == (3, FIGURES)
    torch.testing.assert_close(figures(padded, longer), found)


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_a_text_of_a_few_tokens_has_figures(tokens):
    assert torch.isfinite(figures(torch.rand(1, tokens, 4), torch.ones(1, tokens))).all()


def test_no_tokens_at_all_have_figures_too():
    assert torch.isfinite(figures(torch.rand(1, 4, 4), torch.zeros(1, 4))).all()


def test_a_beginning_under_the_mask_equals_the_beginning_read_alone(member):
    ids = member.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    mask = torch.ones_like(ids)
    mask[:, 6:] = 0
    whole = member.model.read(ids)
    alone = member.model.read(ids[:, :6])
    assert isinstance(whole, Reading)
    torch.testing.assert_close(
        features(whole, mask), features(alone, mask[:, :6]), rtol=1e-3, atol=1e-4
    )


def test_a_saved_member_loads_as_a_classifier_like_any_other(member):
    assert (member.kind, member.architecture) == ("classifier", "decoder-only")
    assert member.labels == ("no", "yes")
    assert member.max_length == 512


def test_its_loss_is_that_of_its_logits(member):
    batch = member.tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    numbers = torch.tensor([0, 1, 1])
    answer = member.model(**batch, labels=numbers)
    torch.testing.assert_close(
        answer.loss, torch.nn.functional.cross_entropy(answer.logits, numbers)
    )


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_exports_answer_alike_alone_and_in_a_padded_batch(member, engine):
    expected = predict_all(
        get_engine("transformers").prepare(member, EngineOptions()), TEXTS, Batching()
    )
    session = get_engine(engine).prepare(member, EngineOptions(precision="float32"))
    for size in (1, 3):
        found = predict_all(session, TEXTS, Batching(batch_size=size))
        for one, other in zip(found, expected, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-3)
    session.close()
