import pytest
import torch

from mm_rec.errors import ConfigError
from mm_rec.sampling import Sampling, pick_tokens

LOGITS = torch.tensor([[0.0, 2.0, 1.0, -1.0]]).log_softmax(-1)


def draw(sampling, count=4000):
    generator = torch.Generator().manual_seed(0)
    return pick_tokens(LOGITS.expand(count, -1), sampling, generator)


def test_without_temperature_the_most_likely_token_is_taken():
    assert pick_tokens(LOGITS, Sampling()).tolist() == [1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_probability(temperature):
    often = draw(Sampling(temperature=temperature)).bincount(minlength=4) / 4000
    # Four standard errors of a share over 4000 draws.
    torch.testing.assert_close(often, (LOGITS[0] / temperature).softmax(-1), atol=0.032, rtol=0)


def test_top_k_leaves_the_k_most_likely():
    assert set(draw(Sampling(temperature=1.0, top_k=2)).tolist()) == {1, 2}


def test_top_k_above_the_vocabulary_leaves_all():
    assert set(draw(Sampling(temperature=1.0, top_k=99)).tolist()) == {0, 1, 2, 3}


def test_top_p_leaves_the_fewest_that_hold_the_probability():
    # Their probabilities are 0.644, 0.237, 0.087 and 0.032.
    assert set(draw(Sampling(temperature=1.0, top_p=0.6)).tolist()) == {1}
    assert set(draw(Sampling(temperature=1.0, top_p=0.7)).tolist()) == {1, 2}
    assert set(draw(Sampling(temperature=1.0, top_p=1.0)).tolist()) == {0, 1, 2, 3}


def test_a_seed_fixes_what_is_drawn():
    sampling = Sampling(temperature=1.0, top_k=3)
    assert torch.equal(draw(sampling), draw(sampling))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature=-1.0; expected a number from 0 up"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_k": 0}, "top_k=0; expected at least 1"),
        ({"top_p": 0.0}, r"top_p=0.0; expected a number in \(0, 1\]"),
        ({"top_p": 1.5}, "top_p=1.5"),
    ],
)
def test_settings_that_cannot_be_drawn_from_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Sampling(**settings)
