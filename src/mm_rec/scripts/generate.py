"""Let a trained model write: `python -m mm_rec.scripts.generate --model RUN --prompt TEXT`.

The text appears as it is written. With --session the model's memory is kept in a file, and the
next call goes on where this one ended.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mm_rec.errors import ConfigError
from mm_rec.scripts.arguments import OneLineParser, add_flags, end_with_status
from mm_rec.training.configuration import setting

if TYPE_CHECKING:
    from mm_rec.core.state import MMRecState
    from mm_rec.data.tokenizers import Tokenizer
    from mm_rec.model import MMRecForCausalLM
    from mm_rec.sampling import Sampling

PENDING = "pending_token"  # written, but not read yet, when a session was saved
READ_AT_ONCE = 4096  # tokens of a prompt: constant memory for prompts of any length


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """How to write; the sampling is checked where it is used."""

    model: str = setting("", "folder of a run, a checkpoint, or an int8 export")
    prompt: str | None = setting(
        None, "what to go on from; - reads standard input; without it, the start of a document"
    )
    max_new_tokens: int = setting(200, "tokens to write")
    temperature: float = setting(0.8, "above 0: how freely to draw; 0: the likeliest token")
    top_k: int | None = setting(None, "draw from so many likeliest tokens")
    top_p: float | None = setting(
        None, "draw from the fewest likeliest tokens with this probability together"
    )
    seed: int | None = setting(None, "fixes what is drawn; otherwise each call differs")
    session: str | None = setting(
        None, "file that keeps the model's memory: read if it is there, then written"
    )
    device: str = setting("cpu", "cpu, cuda or cuda:N")


def main(arguments: Sequence[str]) -> int:
    """Write as the arguments say; return the exit status."""
    parser = OneLineParser(prog="generate", description=__doc__)
    add_flags(parser, GenerateConfig)
    config = GenerateConfig(**vars(parser.parse_args(arguments)))
    if not config.model:
        raise ConfigError("--model is missing; expected the folder of a run or a model.")
    if config.max_new_tokens < 1:
        raise ConfigError(f"--max_new_tokens {config.max_new_tokens}: expected at least 1.")
    from mm_rec.sampling import Sampling

    sampling = Sampling(temperature=config.temperature, top_k=config.top_k, top_p=config.top_p)
    _write(config, sampling)
    return 0


def _write(config: GenerateConfig, sampling: "Sampling") -> None:
    from mm_rec.scripts.model_source import load_model

    model, tokenizer = load_model(Path(config.model), config.device)
    prompt = sys.stdin.read() if config.prompt == "-" else config.prompt or ""
    ids = tokenizer.encode(prompt)
    state, pending = _go_on(config, model)
    start = pending if state is not None else ([] if ids else [tokenizer.end_id])
    print(prompt, end="", flush=True)
    last, state = _stream(config, sampling, model, tokenizer, [*start, *ids], state)
    print()
    if config.session is not None:
        from mm_rec.core.session import save_session

        save_session(config.session, state, model, {PENDING: str(last)})


def _go_on(
    config: GenerateConfig, model: "MMRecForCausalLM"
) -> "tuple[MMRecState | None, list[int]]":
    """Return the state of the session and the token that it has not read; None at its start."""
    from mm_rec.core.session import load_session, read_notes

    if config.session is None:
        return None, []
    path = Path(config.session)
    if not path.exists():
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"--session {path}: there is no folder {path.parent}; make it first.")
        return None, []
    state = load_session(path, model)
    pending = read_notes(path).get(PENDING)
    return state, [] if pending is None else [int(pending)]


def _stream(
    config: GenerateConfig,
    sampling: "Sampling",
    model: "MMRecForCausalLM",
    tokenizer: "Tokenizer",
    ids: list[int],
    state: "MMRecState | None",
) -> "tuple[int, MMRecState]":
    """Print what the model writes after the ids; return the last token and the state before it."""
    import torch

    from mm_rec.decoding import Decoder
    from mm_rec.scripts.streaming_text import StreamingText

    generator = torch.Generator(device=model.device)
    generator.seed() if config.seed is None else generator.manual_seed(config.seed)
    decoder, text = Decoder(model, state=state), StreamingText(tokenizer)
    *before, last = torch.tensor([ids], device=model.device).split(READ_AT_ONCE, dim=1)
    for part in before:
        decoder.read(part)
    token = -1
    for tensor in decoder.stream(
        last, max_new_tokens=config.max_new_tokens, sampling=sampling, generator=generator
    ):
        token = int(tensor)
        print(text.add(token), end="", flush=True)
    print(text.rest(), end="")
    return token, decoder.state


if __name__ == "__main__":
    end_with_status(main, "generate")
