"""Decoding: text token by token, each of them one fused step through all layers.

Owns the walk through texts; how a model meets the ops in `mm_rec.ops.decode` is `core.fused_step`,
how tokens are picked is `mm_rec.sampling`.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from mm_rec.core.fused_step import decode_weights, stack_state, unstack_state
from mm_rec.core.inputs import check_input_ids
from mm_rec.core.state import MMRecState, check_state
from mm_rec.errors import ConfigError, ImplementationError, ShapeError
from mm_rec.model import MMRecForCausalLM
from mm_rec.ops import dispatch
from mm_rec.ops.decode.weights import DecodeState
from mm_rec.sampling import Sampling, pick_tokens


class Decoder:
    """Steps a model through texts, one token of each at a time.

    decoder = Decoder(model)
    for token in decoder.stream(input_ids, max_new_tokens=100): ...

    The weights stay where the model has them. Dropout is off, whatever the model's mode.

    Args:
        model: Where the weights are.
        state: Where the texts left off; None: the start of `batch_size` texts. It is not changed.
        batch_size: Number of texts, where no state is given.
        implementation: "cpu", the compiled kernel, for fp32; "triton" for CUDA; "reference",
            plain PyTorch; None: the first that runs with these weights. Read it back from
            `implementation`.

    Raises:
        ImplementationError: For a name that is unknown, or cannot run with these weights.
        ShapeError: For a state of another model.
    """

    def __init__(
        self,
        model: MMRecForCausalLM,
        *,
        state: MMRecState | None = None,
        batch_size: int = 1,
        implementation: str | None = None,
    ) -> None:
        self._model = model
        self._weights = decode_weights(model)
        self.implementation = choose_implementation(implementation, self._weights.embedding)
        self._step = dispatch.load("decode", self.implementation).decode_step
        embedding = self._weights.embedding
        if state is None:
            if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
                raise ConfigError(f"batch_size={batch_size!r}; expected a number of at least 1.")
            state = MMRecState.initial(model.config, batch_size, embedding.device, embedding.dtype)
        else:
            check_state(state, model.config, state.batch_size)
        self._state = stack_state(state)

    @property
    def state(self) -> MMRecState:
        """The state after the last token; later steps do not change it."""
        return unstack_state(DecodeState(*(tensor.clone() for tensor in self._state)))

    @property
    def batch_size(self) -> int:
        """Number of texts."""
        return self._state.hidden.shape[1]

    @torch.no_grad()
    def read(self, input_ids: Tensor, chunk_size: int | None = None) -> Tensor:
        """Return the logits [B, V] after input_ids [B, T], which are read in parallel."""
        self._check_batch(input_ids)
        was_training = self._model.training
        try:
            output = self._model.eval()(
                input_ids,
                state=unstack_state(self._state),
                chunk_size=chunk_size,
                logits_to_keep=1,
                use_cache=True,
            )
        finally:
            self._model.train(was_training)
        self._state = stack_state(output.state)
        return output.logits[:, -1]

    @torch.no_grad()
    def step(self, ids: Tensor) -> Tensor:
        """Return the logits [B, V] after one more token of each text, ids [B]."""
        if not isinstance(ids, Tensor) or ids.shape != (self.batch_size,):
            given = getattr(ids, "shape", type(ids).__name__)
            raise ShapeError(f"ids are {given}; expected a tensor of shape ({self.batch_size},).")
        if self.implementation != "cpu":  # the kernel checks them itself
            check_input_ids(ids.unsqueeze(1), len(self._weights.embedding))
        return self._step(self._weights, ids, self._state)

    def stream(
        self,
        input_ids: Tensor,
        *,
        max_new_tokens: int,
        sampling: Sampling | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """Yield the ids [B] of one token after the other, after reading input_ids [B, T].

        sampling: None is greedy. generator: fixes what is drawn. The last token yielded has not
        been read yet: the state is the one before it.
        """
        logits = self.read(input_ids)
        for left in range(max_new_tokens, 0, -1):
            ids = pick_tokens(logits, sampling or Sampling(), generator)
            yield ids
            if left > 1:
                logits = self.step(ids)

    def _check_batch(self, input_ids: Tensor) -> None:
        check_input_ids(input_ids, len(self._weights.embedding))
        if len(input_ids) != self.batch_size:
            raise ShapeError(
                f"input_ids hold {len(input_ids)} texts; expected {self.batch_size} like the state."
            )


def choose_implementation(requested: str | None, embedding: Tensor) -> str:
    """Return the implementation to run with weights like these; never one not asked for.

    Raises ImplementationError for a name that is unknown or cannot run with them.
    """
    is_narrow = embedding.device.type == "cpu" and embedding.dtype != torch.float32
    if requested is None and is_narrow:
        return "reference"
    chosen = dispatch.choose_implementation(requested, embedding)
    if chosen == "cpu" and is_narrow:
        raise ImplementationError(
            f"implementation='cpu' takes float32 weights, not {embedding.dtype}; "
            "convert the model with .float(), or pass None."
        )
    return chosen
