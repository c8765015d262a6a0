from types import SimpleNamespace

import pytest

from ivme.serve.held_plan import HeldPlan


class Predictor:
    """A plan's model that notes which batches it is given."""

    def __init__(self, kind, *, keeps_to_few=False):
        self.plan = SimpleNamespace(kind=kind)
        tokenizer = SimpleNamespace(mask_token="[MASK]")
        sessions = [SimpleNamespace(model=SimpleNamespace(tokenizer=tokenizer))]
        self.session = SimpleNamespace(sessions=sessions)
        self.keeps_to_few = keeps_to_few
        self.batches = []

    def __call__(self, text):
        self.batches.append([text])

    def batched(self, *, batch_size, max_batch_tokens):
        return self.batches.append

    def keep_to_few_shapes(self, within_s):
        return self.keeps_to_few

    def count_tokens(self, texts):
        return [min(512, len(text.split())) for text in texts]


def batches_of(predictor, max_batch_tokens):
    HeldPlan(predictor, max_batch_tokens).warm_up()
    return [predictor.count_tokens(batch) for batch in predictor.batches]


@pytest.mark.parametrize("kind", ["classifier", "embedding", "masked"])
def test_a_plan_meets_as_large_a_batch_as_it_may_be_given(kind):
    predictor = Predictor(kind)
    assert batches_of(predictor, 2048) == [[1], [512], [512] * 4]
    assert all(("[MASK]" in batch[0]) == (kind == "masked") for batch in predictor.batches)


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_a_plan_that_writes_does_not_begin_with_long_texts(kind):
    assert batches_of(Predictor(kind), 2048) == [[1]]


def test_a_plan_that_has_met_its_few_shapes_meets_no_others():
    assert batches_of(Predictor("classifier", keeps_to_few=True), 2048) == [[1]]


def test_a_large_batch_that_would_take_too_long_is_left_out(monkeypatch):
    monkeypatch.setattr("ivme.serve.held_plan.WARM_UP_S", 0.0)
    assert batches_of(Predictor("classifier"), 2048) == [[1], [512]]


def test_a_batch_of_one_long_text_is_met_once():
    assert batches_of(Predictor("classifier"), 600) == [[1], [512]]
