"""MM-Rec: a recurrent language model with a short-term state and long-term memories.

Importing this package loads no other; its classes load when they are first named. `register()`
makes saved models known to `AutoConfig`, `AutoModel` and `AutoModelForCausalLM`.
"""

from typing import Any

_HOMES = {
    "MMRecConfig": "mm_rec.configuration",
    "PRESETS": "mm_rec.presets",
    "preset_config": "mm_rec.configuration",
    "MMRecModel": "mm_rec.model",
    "MMRecForCausalLM": "mm_rec.model",
    "MMRecBlock": "mm_rec.blocks.mm_rec_block",
    "MMRecState": "mm_rec.core.state",
    "load_session": "mm_rec.core.session",
    "save_session": "mm_rec.core.session",
}

__all__ = [*_HOMES, "register"]


def __getattr__(name: str) -> Any:
    """Load and return a public class or function when it is first named."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mm_rec' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def register() -> None:
    """Make the Auto classes of Transformers know MM-Rec; calling it again changes nothing."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    from mm_rec.configuration import MMRecConfig
    from mm_rec.model import MMRecForCausalLM, MMRecModel

    AutoConfig.register(MMRecConfig.model_type, MMRecConfig, exist_ok=True)
    AutoModel.register(MMRecConfig, MMRecModel, exist_ok=True)
    AutoModelForCausalLM.register(MMRecConfig, MMRecForCausalLM, exist_ok=True)
