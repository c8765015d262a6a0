"""The model of a training run, and what it writes as a sample."""

from collections.abc import Callable

import torch

from mm_rec.configuration import preset_config
from mm_rec.data.tokenizers import Tokenizer
from mm_rec.decoding import Decoder
from mm_rec.model import MMRecForCausalLM
from mm_rec.sampling import Sampling
from mm_rec.training.configuration import TrainingConfig

SAMPLE_SAMPLING = Sampling(temperature=0.8, top_k=50)


def build_model(config: TrainingConfig, tokenizer: Tokenizer) -> MMRecForCausalLM:
    """Return the untrained model of a run.

    Its weights follow from the seed; those that it has without UBOO are the same with it, so that
    the two can be compared.
    """
    shape = preset_config(
        config.model_name,
        vocab_size=tokenizer.vocab_size,
        eos_token_id=tokenizer.end_id,
        bos_token_id=tokenizer.end_id,
        use_hem=config.use_hem,
        dropout=config.dropout,
    )
    torch.manual_seed(config.seed)
    model = MMRecForCausalLM(shape)
    if not config.use_uboo:
        return model
    shape.use_uboo = True
    with_planning = MMRecForCausalLM(shape)
    with_planning.load_state_dict(model.state_dict(), strict=False)
    return with_planning


def make_text_writer(
    tokenizer: Tokenizer, config: TrainingConfig
) -> Callable[[MMRecForCausalLM, int], str]:
    """Return a function that lets a model write a sample; the number fixes what is drawn."""
    prompt = tokenizer.encode(config.sample_prompt) or [tokenizer.end_id]

    def write(model: MMRecForCausalLM, number: int) -> str:
        device = model.lm_head.weight.device
        generator = torch.Generator(device=device).manual_seed(config.seed + number)
        stream = Decoder(model).stream(
            torch.tensor([prompt], device=device),
            max_new_tokens=config.sample_tokens,
            sampling=SAMPLE_SAMPLING,
            generator=generator,
        )
        return tokenizer.decode([*prompt, *(int(ids) for ids in stream)])

    return write
