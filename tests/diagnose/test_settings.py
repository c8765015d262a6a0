import pytest

from ivme.diagnose.settings import StepSettings, describe
from ivme.errors import UsageError


def test_differences_are_told_in_words():
    changed = StepSettings(batch_size=8, dtype="bfloat16", workers=1, checkpointing=True)
    assert describe(changed.differences(StepSettings())) == (
        "batch 8 · bfloat16 · 1 worker · checkpointing"
    )


def test_settings_out_of_range_are_refused_by_name():
    with pytest.raises(UsageError, match="batch_size=0; expected 1 or more"):
        StepSettings(batch_size=0)
    with pytest.raises(UsageError, match="dtype='int8'; expected one of float32, bfloat16"):
        StepSettings(dtype="int8")
