import pytest
import torch

from mm_rec.configuration import MMRecConfig
from mm_rec.model import MMRecForCausalLM

VOCABULARY = 50


@pytest.fixture
def make_model():
    """Build a small model with memory, in fp32, with the settings given."""

    def make(seed=0, **settings):
        torch.manual_seed(seed)
        defaults = {
            "vocab_size": VOCABULARY,
            "model_dim": 16,
            "num_layers": 2,
            "num_heads": 2,
            "num_memories": 2,
        }
        model = MMRecForCausalLM(MMRecConfig(**{**defaults, **settings}))
        # Untrained memories whisper; these are loud enough for a wrong one to be heard.
        for name, weight in model.named_parameters():
            if "hem" in name and weight.ndim == 1:
                torch.nn.init.normal_(weight)
        return model.eval()

    return make


@pytest.fixture
def make_ids():
    def make(*shape, seed=1):
        return torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))

    return make
