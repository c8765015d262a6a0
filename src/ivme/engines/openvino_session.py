"""What sessions on OpenVINO share: compiled networks, and lengths that batches are padded to."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ivme.engines.array_session import ArraySession
from ivme.engines.encoding import token_limits
from ivme.engines.openvino_runtime import CompiledNetwork
from ivme.engines.protocol import EngineOptions
from ivme.measure.clock import Clock

if TYPE_CHECKING:
    from ivme.models.interface import TextModel


class OpenVinoSession(ArraySession):
    """Compiled networks, ready to run batches of any shape.

    rounds_up: batches are padded to a few lengths, because OpenVINO prepares itself for each.
    """

    rounds_up = False

    def __init__(
        self,
        model: "TextModel",
        options: EngineOptions,
        networks: Sequence[CompiledNetwork],
        notes: Sequence[str],
        clock: Clock | None = None,
    ) -> None:
        limits = replace(token_limits(model, options), rounds_up=self.rounds_up)
        super().__init__(model, limits, clock)
        self.options = options
        self.networks = tuple(networks)
        self.notes = (*notes, self.networks[-1].describe())
        self.precision = options.precision or "float32"

    def padded(self, length: int) -> int:
        """Return the tokens that a batch is padded to if its longest text has `length`."""
        return self.limits.padded(length)

    def close(self) -> None:
        """Free the compiled networks."""
        for network in self.networks:
            network.close()
