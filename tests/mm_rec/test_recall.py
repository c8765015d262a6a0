import importlib.util
from pathlib import Path

import pytest
import torch

from mm_rec.configuration import MMRecConfig
from mm_rec.model import MMRecForCausalLM

pytestmark = pytest.mark.slow

_spec = importlib.util.spec_from_file_location("recall", Path(__file__).with_name("recall.py"))
recall = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(recall)

DISTANCE = 1000
STOPPING, SCORING = 0, 1  # seeds of held-out texts: training stops on some, others are the test


@pytest.fixture(scope="module")
def trained():
    """Train two layers on texts of 64 tokens until they do well on texts of 128."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = MMRecForCausalLM(
        MMRecConfig(vocab_size=recall.VOCABULARY, model_dim=64, num_layers=2, num_heads=1)
    )

    def batch():
        return recall.make_texts(generator, 32, 64)

    texts = recall.held_out(STOPPING, 256, 128)
    recall.train(model, batch, 0.992, texts, most_steps=900, rate=5e-3)
    return model


def test_two_layers_recall_eight_pairs_in_128_tokens(trained):
    assert recall.accuracy(trained, *recall.held_out(SCORING, 256, 128)) > 0.99


def test_recall_reaches_across_a_thousand_tokens_and_through_the_memory_alone(trained):
    generator = torch.Generator().manual_seed(1)
    length = recall.SAID_BEFORE + DISTANCE + 64

    def batch():
        return recall.make_texts(generator, 4, length, distance=DISTANCE)

    texts = recall.held_out(STOPPING, 64, length, distance=DISTANCE)
    recall.train(trained, batch, 0.97, texts, most_steps=150, rate=1e-3)
    fresh = recall.held_out(SCORING, 64, length, distance=DISTANCE)
    assert recall.accuracy(trained, *fresh) > 0.95
    assert recall.accuracy(trained, *fresh, forgets=True) < 0.1
