import numpy as np

from ivme.engines.greedy import Greedy


def logits() -> np.ndarray:
    return np.array([[0.0, 3.0, 2.0, 1.0], [5.0, 0.0, 4.0, 9.0]], dtype=np.float32)


def test_the_likeliest_token_of_each_text_is_chosen() -> None:
    chosen = Greedy.of({}).choose(logits(), is_first=True)

    assert chosen.tolist() == [[1], [3]]
    assert chosen.dtype == np.int64


def test_a_token_that_would_end_a_text_is_never_chosen() -> None:
    assert Greedy.of({"eos_token_id": 3}).choose(logits(), is_first=False).tolist() == [[1], [0]]
    assert Greedy.of({"eos_token_id": [3, 0]}).choose(logits(), is_first=False).tolist() == [
        [1],
        [2],
    ]


def test_a_forced_token_comes_first_and_only_there() -> None:
    rules = Greedy.of({"forced_bos_token_id": 2})

    assert rules.choose(logits(), is_first=True).tolist() == [[2], [2]]
    assert rules.choose(logits(), is_first=False).tolist() == [[1], [3]]
