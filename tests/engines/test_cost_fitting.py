from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivme.engines.batch_costs import BatchCost
from ivme.engines.batching import Batching
from ivme.engines.batching_choice import choose_batching
from ivme.engines.cost_fitting import fit_cost, measure_cost
from ivme.engines.protocol import Prediction, StageSeconds
from ivme.engines.warming import text_of_tokens, warm_up


class TimedSession:
    """Takes as long as a cost says, on a clock of its own; each word is a token, and 2 more."""

    precision = "float32"
    notes = ()

    def __init__(self, cost: BatchCost, limit: int = 512) -> None:
        self.cost, self.limit, self.time_s = cost, limit, 0.0
        self.shapes: list[tuple[int, int]] = []

    def rest(self) -> None:
        """Nothing spins here."""

    def now(self) -> float:
        return self.time_s

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        tokens = max(self.count_tokens(texts))
        self.shapes.append((len(texts), tokens))
        self.time_s += self.cost.seconds(len(texts), tokens)
        return [Prediction() for _ in texts]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [min(len(text.split()) + 2, self.limit) for text in texts]

    def close(self) -> None:
        return None


@settings(deadline=None)  # a loaded machine is no failure
@given(call_s=st.floats(1e-4, 1e-2), token_s=st.floats(1e-5, 1e-3), pair_s=st.floats(1e-8, 1e-6))
def test_a_cost_is_found_again_from_what_a_session_takes(
    call_s: float, token_s: float, pair_s: float
) -> None:
    cost = BatchCost(call_s=call_s, token_s=token_s, pair_s=pair_s)
    session = TimedSession(cost)
    found = measure_cost(session, rounds=2, clock=session)

    assert found.seconds(8, 100) == pytest.approx(cost.seconds(8, 100), rel=1e-6)
    assert found.call_s == pytest.approx(cost.call_s, rel=1e-3)


def test_lengths_beyond_the_models_are_counted_as_cut() -> None:
    session = TimedSession(BatchCost(call_s=0.01, token_s=0.001), limit=48)
    found = measure_cost(session, lengths=(16, 64, 256), rounds=1, clock=session)

    assert found.seconds(1, 40) == pytest.approx(0.05)
    assert max(tokens for _, tokens in session.shapes) == 48


def test_noise_never_makes_a_cost_negative() -> None:
    cost = fit_cost({(1, 16): 0.010, (1, 64): 0.009, (4, 16): 0.008, (4, 64): 0.050})

    assert min(cost.call_s, cost.token_s, cost.pair_s) >= 0


@pytest.mark.parametrize("tokens", [3, 4, 17, 200])
def test_a_text_has_exactly_the_tokens_asked_for(tokens: int) -> None:
    session = TimedSession(BatchCost(call_s=1, token_s=1))

    assert session.count_tokens([text_of_tokens(session, tokens)]) == [tokens]


def test_warming_runs_one_text_and_a_full_batch_at_every_bucket() -> None:
    session = TimedSession(BatchCost(call_s=1, token_s=1))
    warm_up(
        session,
        Batching(batch_size=8, max_batch_tokens=64, padding="bucketed", buckets=(16, 32, 128)),
    )

    assert session.shapes == [(1, 16), (4, 16), (1, 32), (2, 32), (1, 128)]


@pytest.mark.parametrize(("call_s", "order"), [(0.0, "given"), (0.01, "packed")])
def test_texts_are_packed_only_where_it_is_faster(call_s: float, order: str) -> None:
    session = TimedSession(BatchCost(call_s=call_s, token_s=0.001))
    texts = ["word " * number for number in (3, 3, 3, 9, 9, 30)]
    batching = choose_batching(session, texts, rounds=1, clock=session)

    assert batching.order == order


def test_batches_that_outgrow_the_cache_are_not_chosen() -> None:
    class Cached(TimedSession):
        """Takes three times as long for batches of more than 256 tokens."""

        def predict(
            self, texts: Sequence[str], stages: StageSeconds | None = None
        ) -> list[Prediction]:
            before = self.time_s
            answers = super().predict(texts, stages)
            if len(texts) * max(self.count_tokens(texts)) > 256:
                self.time_s += 2 * (self.time_s - before)
            return answers

    session = Cached(BatchCost(call_s=0.01, token_s=0.001))
    batching = choose_batching(session, ["word " * 30] * 40, rounds=1, clock=session)

    assert batching.max_batch_tokens == 256


def test_dear_calls_do_not_buy_much_padding() -> None:
    session = TimedSession(BatchCost(call_s=1.0, token_s=0.001))
    texts = ["word " * number for number in (3, 5, 9, 17, 33, 65, 129)]

    assert choose_batching(session, texts, rounds=1, clock=session).order == "given"


def test_calls_that_all_take_the_same_still_have_a_cost_to_cut_by() -> None:
    cost = fit_cost({(1, 16): 2e-3, (4, 16): 2e-3, (1, 64): 2e-3, (4, 64): 1.9e-3})
    assert cost.call_s == pytest.approx(2e-3, rel=0.05)
    assert 0 < cost.token_s < 1e-8
