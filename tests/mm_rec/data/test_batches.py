import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_rec.data.batches import (
    IGNORED_LABEL,
    BatchSource,
    PrefetchingSource,
    evaluation_batches,
)
from mm_rec.data.permutation import mix, permute
from mm_rec.errors import ConfigError, DataError


@pytest.fixture
def tokens(make_token_file):
    return make_token_file(1000)


@settings(deadline=None)
@given(size=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_a_permutation_has_every_number_once(size, key):
    keys = np.full(size, key, dtype=np.uint64)
    moved = permute(np.arange(size, dtype=np.uint64), size, keys)
    assert np.array_equal(np.sort(moved), np.arange(size))


def test_permutations_are_spread_evenly():
    size, trials = 6, 6000
    positions = np.tile(np.arange(size, dtype=np.uint64), trials)
    keys = np.repeat(mix(np.arange(trials, dtype=np.uint64)), size)
    counts = np.zeros((size, size))
    np.add.at(counts, (positions, permute(positions, size, keys)), 1)
    assert abs(counts / trials - 1 / size).max() < 0.03  # six standard deviations


@settings(deadline=None)
@given(
    size=st.integers(12, 400),
    batch_size=st.integers(1, 7),
    seq_len=st.integers(1, 11),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 10**6),
)
def test_every_window_comes_once_an_epoch(size, batch_size, seq_len, seed, epoch):
    source = BatchSource(FakeTokens(size), batch_size, seq_len, seed)
    count = source.windows_per_epoch
    first, last = epoch * count, (epoch + 1) * count - 1
    steps = range(first // batch_size, last // batch_size + 1)
    starts = np.concatenate([source.starts(step) for step in steps])
    skipped = first - steps[0] * batch_size
    starts = np.sort(starts[skipped : skipped + count])
    assert (np.diff(starts) == seq_len).all()  # no overlap, no gap
    assert starts[0] >= 0
    assert starts[-1] + seq_len + 1 <= size
    assert size - count * seq_len <= 2 * seq_len  # what an epoch leaves out


class FakeTokens:
    """A token file of which only the length matters."""

    path = "tokens"

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length


def test_labels_are_the_inputs_one_token_on(tokens):
    source = BatchSource(tokens, 3, 16, seed=5)
    inputs, labels = source.batch(7)
    assert inputs.shape == labels.shape == (3, 16)
    assert inputs.dtype == labels.dtype == torch.int64
    for row, start in enumerate(source.starts(7)):
        expected = tokens.tokens(start, start + 17).tolist()
        assert [*inputs[row].tolist(), labels[row, -1].item()] == expected
        assert labels[row].tolist() == expected[1:]


def test_a_step_is_the_same_whatever_came_before(tokens):
    one, other = (BatchSource(tokens, 4, 16, seed=1) for _ in range(2))
    for step in range(20):
        one.batch(step)
    assert torch.equal(one.batch(10**12)[0], other.batch(10**12)[0])


def test_seeds_and_epochs_have_their_own_order(tokens):
    source, other = BatchSource(tokens, 1, 8, seed=1), BatchSource(tokens, 1, 8, seed=2)
    count = source.windows_per_epoch

    def order(source, epoch):
        return [int(source.starts(epoch * count + i)[0]) for i in range(count)]

    orders = [order(source, 0), order(source, 1), order(other, 0)]
    assert len({tuple(np.argsort(starts)) for starts in orders}) == 3
    assert len({min(order(source, epoch)) for epoch in range(12)}) > 3  # offsets


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000))
def test_ranks_together_read_what_one_process_would(world_size, batch_size, step):
    length = 500
    whole = BatchSource(FakeTokens(length), batch_size * world_size, 8, seed=3).starts(step)
    shards = [
        BatchSource(FakeTokens(length), batch_size, 8, 3, rank, world_size).starts(step)
        for rank in range(world_size)
    ]
    assert np.concatenate(shards).tolist() == whole.tolist()


def test_the_smallest_file_has_one_window(make_token_file):
    source = BatchSource(make_token_file(9), 2, 8, seed=0)
    assert source.starts(0).tolist() == [0, 0]
    with pytest.raises(DataError, match="holds 8 tokens; a window of seq_len=8 needs 9"):
        BatchSource(make_token_file(8, "small"), 2, 8, seed=0)


@pytest.mark.parametrize("workers", [1, 3])
def test_prefetching_changes_no_batch(tokens, workers):
    source = BatchSource(tokens, 2, 8, seed=1)
    with PrefetchingSource(source, workers) as prefetching:
        for step in [0, 1, 2, 3, 50, 51, 3, 4, 4, 5]:
            for one, other in zip(prefetching.batch(step), source.batch(step), strict=True):
                assert torch.equal(one, other)


def test_an_error_in_a_worker_reaches_the_caller(tokens):
    class Broken:
        def batch(self, step):
            raise DataError("train.tokens is damaged")

    with (
        PrefetchingSource(Broken(), 2) as prefetching,
        pytest.raises(DataError, match="is damaged"),
    ):
        prefetching.batch(0)


@pytest.mark.parametrize("size", [2, 16, 17, 18, 97, 999])
@pytest.mark.parametrize("world_size", [1, 3])
def test_evaluation_covers_every_token_but_the_first_once(make_token_file, size, world_size):
    tokens = make_token_file(size)
    batches = {
        index * world_size + rank: batch
        for rank in range(world_size)
        for index, batch in enumerate(evaluation_batches(tokens, 2, 8, rank, world_size))
    }
    inputs, labels = (
        torch.cat([batches[i][kind].flatten() for i in sorted(batches)]) for kind in (0, 1)
    )
    expected = torch.from_numpy(tokens.tokens(0, size).astype(np.int64))
    is_label = labels != IGNORED_LABEL
    assert torch.equal(labels[is_label], expected[1:])
    assert torch.equal(inputs[is_label], expected[:-1])
    assert {tuple(batch[0].shape) for batch in batches.values()} == {(2, 8)}


def test_a_file_too_short_to_evaluate_is_refused(make_token_file):
    with pytest.raises(DataError, match="holds 1 tokens; expected at least 2"):
        next(evaluation_batches(make_token_file(1), 2, 8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size=0; expected at least 1"),
        ({"seq_len": 0}, "seq_len=0; expected at least 1"),
        ({"rank": 2, "world_size": 2}, "rank=2; expected 0 to 1"),
        ({"seed": -1}, "seed=-1; expected 0 to"),
    ],
)
def test_settings_that_are_not_allowed_are_named(tokens, settings, message):
    with pytest.raises(ConfigError, match=message):
        BatchSource(tokens, **{"batch_size": 2, "seq_len": 8, "seed": 0, **settings})


def test_negative_steps_and_no_workers_are_refused(tokens):
    source = BatchSource(tokens, 2, 8, seed=0)
    with pytest.raises(ConfigError, match="step=-1; expected 0 or more"):
        source.batch(-1)
    with pytest.raises(ConfigError, match="workers=0; expected at least 1"):
        PrefetchingSource(source, 0)
