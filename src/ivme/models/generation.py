"""Generation made comparable: greedy, one beam, no sampling, whatever the model's files ask for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEPT = (  # token ids that belong to the model, not to a style of decoding
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
)

STYLE = {  # settings that would change the answers, and the value at which they do not
    "do_sample": False,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}


def make_greedy(model: "PreTrainedModel") -> tuple[str, ...]:
    """Replace the model's generation settings by greedy ones; return a note on what gave way."""
    from transformers import GenerationConfig

    asked = model.generation_config
    token_ids = {name: getattr(asked, name, None) for name in KEPT}
    model.generation_config = GenerationConfig(do_sample=False, num_beams=1, **token_ids)
    aside = [name for name, plain in STYLE.items() if getattr(asked, name) not in (None, plain)]
    if not aside:
        return ()
    return (f"generation is greedy; set aside of the model's own settings: {', '.join(aside)}",)
