"""An encoder compiled by torch.compile: weights frozen into the code, any batch size and length.

Each compiled network has a code object of its own, so that its compiled forms are counted and freed
apart from those of other networks.
"""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn

from ivme.errors import RefusedError
from ivme.models.quiet import quiet_libraries

_compiling = threading.Lock()  # torch's settings for compiling belong to the process


class CompiledNetwork:
    """A network from `ivme.engines.networks`, compiled when a call needs a form of it.

    One form serves all shapes, except that sizes of 1 are compiled for themselves: a call on one
    text, or on texts of one token, may take seconds to minutes where none like it came before.

    packed_products: int8 products that torch.compile has found a fast operation for.
    """

    def __init__(self, network: nn.Module) -> None:
        self._run = _own_function(network)
        self._compiled = torch.compile(self._run, fullgraph=True)
        self._seen: set[tuple[bool, ...]] = set()
        self.packed_products = 0

    @property
    def forms(self) -> int:
        """The forms that were compiled."""
        return len(torch._dynamo.eval_frame._debug_get_cache_entry_list(self._run.__code__))

    @property
    def surplus_forms(self) -> int:
        """Forms beyond one for each kind of shape: something else changed between calls."""
        return max(0, self.forms - len(self._seen))

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the network's answers; inputs: each [B, T], in the network's order.

        Raises:
            RefusedError: torch.compile does not take the network.
        """
        for tensor in inputs:
            torch._dynamo.maybe_mark_dynamic(tensor, [0, 1])
        kind = tuple(size == 1 for size in inputs[0].shape)
        if kind in self._seen:
            output: Tensor = self._compiled(*inputs)
            return output
        return self._compile(inputs, kind)

    def close(self) -> None:
        """Free the compiled code, and the weights in it."""
        torch._dynamo.reset_code(self._run.__code__)
        del self._compiled, self._run

    def _compile(self, inputs: Sequence[Tensor], kind: tuple[bool, ...]) -> Tensor:
        """Return the answers of the first call with shapes of a kind."""
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

        with _compiling, _frozen():
            before = _packed_products()
            try:
                output: Tensor = self._compiled(*inputs)
            except (TorchDynamoException, FailOnRecompileLimitHit) as error:
                raise RefusedError(_why(error)) from error
            self.packed_products += _packed_products() - before
            self._seen.add(kind)
        return output


def _own_function(network: nn.Module) -> Callable[..., Tensor]:
    """Return a call of the network with a code object that no other network shares."""

    def run(*inputs: Tensor) -> Tensor:
        output: Tensor = network(*inputs)
        return output

    code = run.__code__.replace()
    return FunctionType(code, run.__globals__, "run", None, run.__closure__)


@contextmanager
def _frozen() -> Iterator[None]:
    """Have torch.compile put weights into the code, and keep its remarks to itself."""
    import torch._inductor.config

    with quiet_libraries(), warnings.catch_warnings(), torch._inductor.config.patch(freezing=True):
        warnings.simplefilter("ignore")
        yield


def _packed_products() -> int:
    """Return the int8 products that torch.compile found a fast operation for, in this process."""
    from torch._dynamo.utils import counters

    return int(counters["inductor"]["qlinear_weight_prepack_matcher_count"])


def _why(error: Exception) -> str:
    """Return the part of a compiler's message that says what it could not do."""
    cause: Any = error.__cause__ or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return f"torch.compile does not take this model: {type(error).__name__}: {lines[0]}"
