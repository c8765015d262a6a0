import json
from pathlib import Path

import pytest
import torch

from ivme.errors import UsageError
from ivme.models.pooling import Pooling, read_pooling

HIDDEN = torch.tensor([[[1.0], [2.0], [4.0], [9.0]]])


@pytest.mark.parametrize(
    ("mode", "mask", "vector"),
    [
        ("mean", [1, 1, 1, 0], 7 / 3),
        ("mean", [0, 1, 1, 1], 5.0),
        ("first", [1, 1, 1, 0], 1.0),
        ("first", [0, 1, 1, 1], 2.0),
        ("last", [1, 1, 1, 0], 4.0),
        ("last", [0, 1, 1, 1], 9.0),
    ],
)
def test_pooling_leaves_padding_out_on_either_side(
    mode: str, mask: list[int], vector: float
) -> None:
    assert Pooling(mode=mode).apply(HIDDEN, torch.tensor([mask])).item() == pytest.approx(vector)


def test_normalized_vectors_have_unit_length() -> None:
    hidden = torch.tensor([[[3.0, 4.0]]])
    vectors = Pooling(is_normalized=True).apply(hidden, torch.tensor([[1]]))

    assert vectors.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]


def test_a_step_that_is_not_done_here_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "x.models.Dense", "path": "2"}]))

    with pytest.raises(UsageError, match="'m' ends in a Dense step"):
        read_pooling(tmp_path, "m")


def test_a_pooling_that_is_not_done_here_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "x.Pooling", "path": "1"}]))
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "config.json").write_text('{"pooling_mode_max_tokens": true}')

    with pytest.raises(UsageError, match="'m' pools by pooling_mode_max_tokens; expected one of"):
        read_pooling(tmp_path, "m")
