"""The configuration of MM-Rec and its named presets; knows nothing of the model's code."""

from typing import Any, ClassVar

from transformers.configuration_utils import PreTrainedConfig

from mm_rec.errors import ConfigError
from mm_rec.ops.checks import INPUT_SCALES
from mm_rec.presets import PRESETS

RECURRENCES = ("parallel", "exact")
# Time constants, in tokens, of the memory banks: token, block, sequence, long-term.
MEMORY_TIME_SCALES = (16.0, 128.0, 1024.0, 8192.0)


class MMRecConfig(PreTrainedConfig):
    """Sizes and switches of an MM-Rec model.

    Attributes:
        vocab_size: Number of tokens; embedding and output head share one [vocab_size, model_dim].
        model_dim: Width D of the residual stream and of the short-term state.
        num_layers: Number of blocks.
        num_heads: Heads of the long-term memory; divides model_dim.
        pe_dim: Width of the priority (write) gate; divides model_dim; None: model_dim. A narrower
            gate holds for model_dim / pe_dim neighboring channels at a time.
        inner_dim: Width of the two decay bottlenecks; None: model_dim / 4.
        ffn_dim: Width inside the feed-forward layer; None: 4 model_dim.
        num_memories: Long-term memory banks, 0 to 4; the slowest ones of MEMORY_TIME_SCALES.
        memory_time_scales: Time constants of the banks in tokens, one each; None: as above.
        recurrence: "parallel": gates see the previous input, and a scan computes the recurrence;
            "exact": gates see the previous state, and the recurrence is stepped. Same weights.
        input_scale: What the short-term state h[t] = a h[t-1] + b multiplies its input by.
            "convex": 1 - a, so that |h| stays bounded by |z| at any length. "variance":
            sqrt(1 - a^2), which keeps the variance of slow channels up; |h| is then no longer
            bounded by |z|. Not with recurrence="exact".
        use_hem: Compute the six input projections as one fused product.
        use_uboo: Add the planning loss of the blocks to the training loss.
        lambda_P: Weight of the planning loss.
        dropout: Probability, on the embedding and on both residual branches.
        norm_eps: Added to the mean square in every RMS norm of the residual stream.
        initializer_range: Standard deviation of the initial embedding.
        use_cache: Return the state after the last token.

    Raises ConfigError, naming the argument, for a value that is not allowed.
    """

    model_type: ClassVar[str] = "mm_rec"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["state"]
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "model_dim",
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "intermediate_size": "ffn_dim",
    }

    vocab_size: int = 5000
    model_dim: int = 128
    num_layers: int = 4
    num_heads: int = 4
    pe_dim: int | None = None
    inner_dim: int | None = None
    ffn_dim: int | None = None
    num_memories: int = 1
    memory_time_scales: list[float] | None = None
    recurrence: str = "parallel"
    input_scale: str = "convex"
    use_hem: bool = True
    use_uboo: bool = False
    lambda_P: float = 0.001
    dropout: float = 0.0
    norm_eps: float = 1e-6
    initializer_range: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Check every setting and fill those left to None."""
        super().__post_init__(**kwargs)
        for name in ("vocab_size", "model_dim", "num_layers", "num_heads"):
            self._require_count(name)
        for name, default in self._default_widths().items():
            if getattr(self, name) is None:
                setattr(self, name, default)
            self._require_count(name)
        self._check_divisibility()
        self._check_switches()
        self._check_memories()

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.model_dim // self.num_heads

    @property
    def projection_widths(self) -> dict[str, int]:
        """Widths of the input projections, in the order of the fused product.

        q, v and p belong to the memory, and are there only with it.
        """
        names = ("q", "k", "v", "z", "p", "e") if self.num_memories else ("k", "z", "e")
        return {name: self.pe_dim if name == "p" else self.model_dim for name in names}  # type: ignore[misc]

    def _default_widths(self) -> dict[str, int]:
        width = self.model_dim
        return {"pe_dim": width, "inner_dim": max(1, width // 4), "ffn_dim": 4 * width}

    def _require_count(self, name: str) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name}={value!r}; expected a whole number of at least 1.")

    def _check_divisibility(self) -> None:
        for name in ("num_heads", "pe_dim"):
            value = getattr(self, name)
            if self.model_dim % value:
                raise ConfigError(
                    f"{name}={value} does not divide model_dim={self.model_dim}; "
                    f"expected a divisor of {self.model_dim}."
                )

    def _check_switches(self) -> None:
        if self.recurrence not in RECURRENCES:
            raise ConfigError(f"recurrence={self.recurrence!r}; expected one of {RECURRENCES}.")
        if self.input_scale not in INPUT_SCALES:
            raise ConfigError(f"input_scale={self.input_scale!r}; expected one of {INPUT_SCALES}.")
        if self.input_scale != "convex" and self.recurrence == "exact":
            raise ConfigError(
                f"input_scale={self.input_scale!r} with recurrence='exact'; "
                "expected 'convex' there, or recurrence='parallel'."
            )
        if not self.tie_word_embeddings:
            raise ConfigError(
                "tie_word_embeddings=False; expected True: embedding and head share weights."
            )
        for name, low, high in (("dropout", 0.0, 1.0), ("lambda_P", 0.0, float("inf"))):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not low <= value < high
            ):
                raise ConfigError(f"{name}={value!r}; expected a number in [{low:g}, {high:g}).")
        for name in ("norm_eps", "initializer_range"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ConfigError(f"{name}={value!r}; expected a number above 0.")

    def _check_memories(self) -> None:
        count, scales = self.num_memories, self.memory_time_scales
        most = len(MEMORY_TIME_SCALES)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= most:
            raise ConfigError(f"num_memories={count!r}; expected 0 (off) to {most}.")
        if scales is None:
            self.memory_time_scales = list(MEMORY_TIME_SCALES[most - count :])
        elif len(scales) != count or not all(0 < scale < float("inf") for scale in scales):
            raise ConfigError(
                f"memory_time_scales={scales!r}; expected num_memories={count} numbers above 0."
            )


def preset_config(name: str, **overrides: Any) -> MMRecConfig:
    """Return the configuration of a preset, with single settings replaced by `overrides`.

    Raises ConfigError for a name that is no preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset={name!r}; expected one of {sorted(PRESETS)}.")
    return MMRecConfig(**{**PRESETS[name], **overrides})
