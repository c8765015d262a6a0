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


def held_out(batch_size, length, **settings):
    generator = torch.Generator().manual_seed(10**6)
    return recall.make_texts(generator, batch_size, length, queries=recall.PAIRS, **settings)


def train(model, batch, target, texts, most_steps, rate):
    """Train on batches until the accuracy on `texts` is above `target`; return it."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    reached = 0.0
    for step in range(1, most_steps + 1):
        optimizer.param_groups[0]["lr"] = rate * min(1, step / 30) * max(0.1, 1 - step / 1000)
        ids, labels = batch()
        model(ids, shift_labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 25 == 0:
            reached = recall.accuracy(model, *texts)
            if reached > target:
                break
    return reached


@pytest.fixture(scope="module")
def trained():
    """Train two layers on short texts; what it reaches on texts of 128 tokens comes with it."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = MMRecForCausalLM(
        MMRecConfig(vocab_size=recall.VOCABULARY, model_dim=64, num_layers=2, num_heads=1)
    )

    def batch():
        return recall.make_texts(generator, 32, 64)

    reached = train(model, batch, 0.992, held_out(256, 128), most_steps=900, rate=5e-3)
    return model, reached


def test_two_layers_recall_eight_pairs_in_128_tokens(trained):
    _, reached = trained
    assert reached > 0.99


def test_recall_reaches_across_a_thousand_tokens_and_through_the_memory_alone(trained):
    model, _ = trained
    generator = torch.Generator().manual_seed(1)
    length = recall.SAID_BEFORE + DISTANCE + 64

    def batch():
        return recall.make_texts(generator, 4, length, distance=DISTANCE)

    texts = held_out(64, length, distance=DISTANCE)
    assert train(model, batch, 0.97, texts, most_steps=150, rate=1e-3) > 0.95
    assert recall.accuracy(model, *texts, forgets=True) < 0.1
