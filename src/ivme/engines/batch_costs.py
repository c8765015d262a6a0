"""What a batch costs, as a formula, for cuts that cost least."""

from dataclasses import dataclass
from typing import Any

from ivme.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class BatchCost:
    """What a batch of k texts padded to T tokens takes: call_s + k T token_s + k T T pair_s.

    Fitted to measurements by ivme.engines.cost_fitting.measure_cost. Raises UsageError for
    negative seconds, or if a token costs nothing.
    """

    call_s: float  # whatever the batch holds
    token_s: float  # each padded token
    pair_s: float = 0.0  # each pair of tokens that attention compares

    def __post_init__(self) -> None:
        """Refuse what no machine does."""
        for name in ("call_s", "token_s", "pair_s"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise UsageError(f"{name}={value!r}; expected seconds, 0 or more")
        if not self.token_s + self.pair_s > 0:
            raise UsageError("token_s=0 and pair_s=0; expected that a token costs something")

    def seconds(self, texts: int, tokens: int) -> float:
        """Return the seconds of a batch of so many texts padded to so many tokens each."""
        return self.call_s + texts * tokens * (self.token_s + tokens * self.pair_s)


# A call costs as much as some 20 tokens: BERT-base at 32 and 128 tokens, in OpenVINO and PyTorch,
# in float32, bfloat16 and int8.
USUAL_COST = BatchCost(call_s=20e-4, token_s=1e-4)


def cost_from(content: Any) -> BatchCost | None:
    """Return the cost that a plan or a record holds as an object; None stays None.

    Raises:
        UsageError: not such an object.
    """
    if content is None or isinstance(content, BatchCost):
        return content
    try:
        return BatchCost(**content)
    except TypeError as error:
        raise UsageError(f"cost={content!r}; expected call_s, token_s and pair_s") from error
