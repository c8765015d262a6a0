import math

import pytest

from ivme.diagnose.configuration import DiagnoseConfig
from ivme.errors import UsageError


@pytest.mark.parametrize("name", ["budget_s", "step_limit_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_seconds_are_more_than_none_and_end(name, value):
    with pytest.raises(UsageError, match=f"{name}={value}; expected more than 0, and finite"):
        DiagnoseConfig(target="step.py", **{name: value})
