import pytest

from ivme.models.loading import load_model
from ivme.models.operations import forward_flops

BATCH, TOKENS = 2, 16


def counted(run) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def test_a_forward_pass_counts_as_a_real_one_does() -> None:
    import torch

    loaded = load_model("preset:bert-tiny", attention="eager")
    ids = torch.full((BATCH, TOKENS), 7)

    assert forward_flops(loaded, BATCH, TOKENS) == counted(lambda: loaded.model(input_ids=ids))


@pytest.mark.parametrize("name", ["preset:gpt2-tiny", "preset:t5-tiny"])
@pytest.mark.parametrize("new_tokens", [1, 2, 7])
def test_generation_counts_as_a_real_one_does(name: str, new_tokens: int) -> None:
    import torch

    loaded = load_model(name, attention="eager")
    ids = torch.full((BATCH, TOKENS), 7)

    def generate() -> None:
        loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
        )

    expected = counted(generate)
    assert forward_flops(loaded, BATCH, TOKENS, new_tokens=new_tokens) == expected


def test_bert_base_takes_two_operations_a_weight_and_token_and_attention() -> None:
    """Layers of 768: four square projections and two of four times the width; two products."""
    loaded = load_model("preset:bert-tiny")
    width, layers = 128, 2
    weights = layers * 12 * width * width
    attention = layers * 2 * TOKENS * width
    head = width * width + 2 * width  # pooler and classifier, once a text

    expected = 2 * BATCH * (TOKENS * (weights + attention) + head)
    assert forward_flops(loaded, BATCH, TOKENS) == expected
