"""MMRecModel and MMRecForCausalLM: blocks, head, and what Transformers asks of a model."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.generation import GenerationMixin
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

from mm_rec.blocks.memory_attention import MultiMemoryAttention
from mm_rec.blocks.mm_rec_block import MMRecBlock
from mm_rec.configuration import MMRecConfig
from mm_rec.core.cross_entropy import IGNORED_LABEL, linear_cross_entropy
from mm_rec.core.fused_step import MOST_TEXTS, fused_step, usable_weights
from mm_rec.core.initialization import initialize_linear
from mm_rec.core.inputs import check_chunk_size, check_input_ids, check_labels, check_logits_to_keep
from mm_rec.core.linear import Linear
from mm_rec.core.norm import RMSNorm
from mm_rec.core.padding import packing_of
from mm_rec.core.projections import set_hem
from mm_rec.core.state import LayerState, MMRecState, check_state


@dataclass
class MMRecOutput(ModelOutput):
    """What the stack of blocks returns.

    last_hidden_state: [B, T, D], after the final norm. state: after the last token.
    planning_loss: sum over layers, B and T of |planning_error|^2, with UBOO. hidden_states: the
    embedding and the output of each block, on request.
    """

    last_hidden_state: Tensor | None = None
    state: MMRecState | None = None
    planning_loss: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class MMRecCausalLMOutput(ModelOutput):
    """What the language model returns.

    loss: cross_entropy, plus L_Aux with UBOO. logits: [B, positions kept, V]. state: after the
    last token. cross_entropy: mean over the labels, in nats. L_Aux: weighted planning loss.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    state: MMRecState | None = None
    cross_entropy: Tensor | None = None
    L_Aux: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


_HUB_ARGUMENTS = ("cache_dir", "local_files_only", "revision", "subfolder", "token")


class MMRecPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialization of MM-Rec models."""

    config: MMRecConfig
    config_class = MMRecConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _is_stateful = True
    _no_split_modules = ("MMRecBlock",)

    @classmethod
    def from_pretrained(cls, folder: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a saved model; `use_hem` may differ from how it was saved, the weights convert."""
        config = kwargs.get("config")
        use_hem = kwargs.pop("use_hem", None if config is None else config.use_hem)
        if config is not None:
            origin = {name: kwargs[name] for name in _HUB_ARGUMENTS if name in kwargs}
            stored = MMRecConfig.from_pretrained(folder, **origin)
            kwargs["config"] = copy.deepcopy(config)
            kwargs["config"].use_hem = stored.use_hem
        loaded = super().from_pretrained(folder, *args, **kwargs)
        if use_hem is not None:
            set_hem(loaded[0] if isinstance(loaded, tuple) else loaded, use_hem)
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw the initial weights that one module holds itself."""
        if isinstance(module, nn.Linear):
            initialize_linear(module)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.RMSNorm):
            init.ones_(module.weight)
        elif isinstance(module, MultiMemoryAttention) and module.bank_weights is not None:
            init.constant_(module.bank_weights, 1 / len(module.time_scales))


class MMRecModel(MMRecPreTrainedModel):
    """Embedding, blocks and final norm, without a head."""

    def __init__(self, config: MMRecConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.model_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(MMRecBlock(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.model_dim, eps=config.norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the embedding."""
        return self.embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the embedding."""
        self.embeddings = value

    def forward(
        self,
        input_ids: Tensor,
        state: MMRecState | None = None,
        attention_mask: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MMRecOutput | tuple:
        """Return the hidden states [B, T, D] and the state after the last token.

        input_ids: [B, T]; state: from an earlier call, or None for the start of the texts;
        attention_mask: [B, T], 0 for padding, on either side.
        Raises ShapeError or ConfigError for ids, a mask or a state that do not fit.
        """
        check_input_ids(input_ids, self.config.vocab_size)
        packing = packing_of(attention_mask, input_ids.shape)
        x = self.embeddings(input_ids)
        if state is None:
            state = MMRecState.initial(self.config, len(input_ids), x.device, x.dtype)
        else:
            check_state(state, self.config, len(input_ids))
        x = self.dropout(x if packing is None else packing.pack(x))
        lengths = None if packing is None else packing.lengths
        is_padding = None if packing is None else packing.is_padding
        seen, layers, planning = [x], [], []
        for block, layer in zip(self.layers, state.layers, strict=True):
            x, *new_layer, planning_sum = block(x, *layer, lengths, is_padding)
            seen.append(x)
            layers.append(LayerState(*new_layer))
            planning.append(planning_sum)
        x = self.norm(x)
        restore = (lambda t: t) if packing is None else packing.unpack
        output = MMRecOutput(
            last_hidden_state=restore(x),
            state=MMRecState(tuple(layers))
            if _or_default(use_cache, self.config.use_cache)
            else None,
            planning_loss=torch.stack(planning).sum() if self.config.use_uboo else None,
            hidden_states=(
                tuple(restore(t) for t in [*seen[:-1], x])
                if _or_default(output_hidden_states, self.config.output_hidden_states)
                else None
            ),
        )
        return output if _or_default(return_dict, True) else output.to_tuple()


class MMRecForCausalLM(MMRecPreTrainedModel, GenerationMixin):
    """MM-Rec with a language-model head that shares the embedding's weights."""

    _tied_weights_keys = {"lm_head.weight": "model.embeddings.weight"}  # noqa: RUF012
    # Whether single tokens without gradients run as one compiled step; False: always as modules.
    use_fused_step = True

    def __init__(self, config: MMRecConfig) -> None:
        super().__init__(config)
        self.model = MMRecModel(config)
        self.lm_head = Linear(config.model_dim, config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """Keep generate() from making a cache of keys and values: the state is the cache."""
        return False

    def _expand_inputs_for_generation(self, expand_size: int = 1, **kwargs: Any) -> tuple:
        """Repeat what the caller gave generate() for each beam; a given state too."""
        state = kwargs.get("state")
        if state is not None and expand_size > 1:
            rows = torch.arange(state.batch_size, device=state.layers[0].hidden.device)
            kwargs["state"] = state.select(rows.repeat_interleave(expand_size))
        return super()._expand_inputs_for_generation(expand_size=expand_size, **kwargs)

    def forward(
        self,
        input_ids: Tensor,
        state: MMRecState | None = None,
        chunk_size: int | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        shift_labels: Tensor | None = None,
        detach_state: bool = False,
        logits_to_keep: int | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> MMRecCausalLMOutput | tuple:
        """Return logits, the state after the last token, and the loss if labels are given.

        Args:
            input_ids: [B, T].
            state: From an earlier call; None at the start of the texts. It is not changed.
            chunk_size: Read so many tokens at a time; the result is the same, and without
                gradients the memory needed does not grow with T.
            attention_mask: [B, T], 0 for padding; or longer, then its last T columns count.
            labels: [B, T], input_ids again: each position is held to the next label. -100: ignored.
            shift_labels: [B, T], labels already shifted: each position is held to its own.
            detach_state: Cut the gradient between chunks (truncated backpropagation).
            logits_to_keep: Return the logits of so many last positions; 0: of all. None: of all,
                or of none where labels are given, which keeps them out of memory.
            use_cache: Return the state; None: as the configuration says.
            output_hidden_states: Return the embedding and each block's output; not in chunks.
            output_attentions: There are none; anything but None or False is refused.
            return_dict: False: a tuple.

        Raises:
            ShapeError: For tensors whose shapes do not fit the model or each other.
            ConfigError: For ids or labels out of range and settings that are not allowed.
        """
        check_input_ids(input_ids, self.config.vocab_size)
        steps = input_ids.shape[1]
        chunk_size = check_chunk_size(chunk_size, steps, output_hidden_states, output_attentions)
        targets = check_labels(labels, shift_labels, input_ids, self.config.vocab_size)
        kept = check_logits_to_keep(logits_to_keep, steps, targets is not None)
        padding = None if attention_mask is None else attention_mask[:, -steps:]
        output = None
        if targets is None and self._may_fuse(input_ids, padding, output_hidden_states):
            output = self._fused_step(input_ids, state)
        if output is None:
            output = self._read_in_chunks(
                input_ids, state, chunk_size, padding, targets, kept, detach_state,
                output_hidden_states,
            )  # fmt: skip
        if not _or_default(use_cache, self.config.use_cache):
            output = type(output)(**{**output, "state": None})  # without the key: as if never kept
        return output if _or_default(return_dict, True) else output.to_tuple()

    def _fused_step(
        self, input_ids: Tensor, state: MMRecState | None
    ) -> MMRecCausalLMOutput | None:
        """Return the output for one token a text; None if these weights cannot be fused."""
        weights = usable_weights(self)
        if weights is None:
            return None
        logits, state = fused_step(self, weights, input_ids[:, 0], state)
        return MMRecCausalLMOutput(logits=logits.unsqueeze(1), state=state)

    def _read_in_chunks(
        self,
        input_ids: Tensor,
        state: MMRecState | None,
        chunk_size: int,
        padding: Tensor | None,
        targets: Tensor | None,
        kept: int,
        detach_state: bool,
        output_hidden_states: bool | None,
    ) -> MMRecCausalLMOutput:
        """Return the output of the modules; kept: last positions whose logits are wanted."""
        steps = input_ids.shape[1]
        losses, planning, logits = [], [], []
        for start in range(0, steps, chunk_size):
            part = slice(start, start + chunk_size)
            if start and detach_state and state is not None:
                state = state.detach()
            output = self.model(
                input_ids[:, part],
                state=state,
                attention_mask=None if padding is None else padding[:, part],
                use_cache=True,
                output_hidden_states=output_hidden_states,
            )
            hidden, state = output.last_hidden_state, output.state
            if targets is not None:
                losses.append(self._summed_loss(hidden, targets[:, part]))
                planning.append(output.planning_loss)
            if part.stop > steps - kept:
                logits.append(self.lm_head(hidden[:, max(0, steps - kept - start) :]))
        result = MMRecCausalLMOutput(
            logits=torch.cat(logits, dim=1) if logits else None,
            state=state,
            hidden_states=output.hidden_states,
        )
        if targets is not None:
            self._add_losses(result, losses, planning, targets, padding)
        return result

    @property
    @torch.no_grad()
    def decoding_implementation(self) -> str:
        """What computes a single token without gradients: "cpu", the fused step, or "modules"."""
        return "modules" if not self.use_fused_step or usable_weights(self) is None else "cpu"

    def _may_fuse(
        self, input_ids: Tensor, padding: Tensor | None, output_hidden_states: bool | None
    ) -> bool:
        """Return whether a call is one token of a few texts and asks for no hidden states."""
        texts, steps = input_ids.shape
        return (
            self.use_fused_step
            and steps == 1
            and texts <= MOST_TEXTS
            and not _or_default(output_hidden_states, self.config.output_hidden_states)
            and packing_of(padding, input_ids.shape) is None
        )

    def _summed_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return linear_cross_entropy(hidden.flatten(0, 1), self.lm_head.weight, targets.flatten())

    def _add_losses(
        self,
        output: MMRecCausalLMOutput,
        losses: list[Tensor],
        planning: list[Tensor],
        targets: Tensor,
        padding: Tensor | None,
    ) -> None:
        """Fill in the mean losses from the sums of the chunks."""
        labeled = (targets != IGNORED_LABEL).sum().clamp(min=1)
        output.cross_entropy = torch.stack(losses).sum() / labeled
        output.loss = output.cross_entropy
        if self.config.use_uboo:
            tokens = targets.numel() if padding is None else padding.bool().sum().clamp(min=1)
            mean = torch.stack(planning).sum() / (tokens * self.config.num_layers)
            output.L_Aux = self.config.lambda_P * mean
            output.loss = output.cross_entropy + output.L_Aux


def _or_default(value: bool | None, default: bool | None) -> bool:
    return bool(default if value is None else value)
