"""Judge a trained model: `python -m mm_rec.scripts.evaluate --model RUN --data FILE`.

Prints loss, perplexity and bits per byte of a text; --by_position tells whether more text before a
token helps. Texts are read in pieces, so that neither a long context nor a large file takes more
memory.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_rec.errors import ConfigError
from mm_rec.scripts.arguments import OneLineParser, add_flags, end_with_status
from mm_rec.training.configuration import setting

if TYPE_CHECKING:
    from torch import Tensor

    from mm_rec.data.mapped_tokens import TokenFile
    from mm_rec.model import MMRecForCausalLM
    from mm_rec.training.reports import Evaluation

FIRST_BUCKET = 16  # positions; each later bucket is as wide as all before it


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What to evaluate, and how."""

    model: str = setting("", "folder of a run, a checkpoint, or an int8 export")
    data: str = setting("", "file or folder of .txt, .jsonl or .csv texts")
    text_field: str = setting("text", "key or column of the text in .jsonl and .csv files")
    seq_len: int = setting(256, "tokens that are read one after the other, from an empty memory")
    batch_size: int = setting(8, "such texts at a time")
    chunk_size: int = setting(256, "tokens of them that are read at once; results are the same")
    by_position: bool = setting(False, "print the loss by position in the text too")
    use_json: bool = setting(False, "print JSON instead of a table")
    device: str = setting("auto", "cpu, cuda or cuda:N")

    def __post_init__(self) -> None:
        """Refuse what cannot be evaluated."""
        for name in ("model", "data"):
            if not getattr(self, name):
                raise ConfigError(f"--{name} is missing; --help lists what is expected.")
        for name in ("seq_len", "batch_size", "chunk_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} {getattr(self, name)}: expected at least 1.")


def main(arguments: Sequence[str]) -> int:
    """Evaluate as the arguments say; return the exit status."""
    parser = OneLineParser(prog="evaluate", description=__doc__)
    add_flags(parser, EvaluateConfig)
    config = EvaluateConfig(**vars(parser.parse_args(arguments)))
    from mm_rec.data.documents import TextFiles
    from mm_rec.data.token_file import prepare
    from mm_rec.scripts.model_source import load_model

    source = TextFiles(path=Path(config.data), text_field=config.text_field)
    source.files()  # a file that is not there is told before the model is loaded
    model, tokenizer = load_model(Path(config.model), config.device)
    with tempfile.TemporaryDirectory(prefix="mm-rec-") as folder:
        tokens = prepare(source, tokenizer, folder, validation_share=0.0).train
        evaluation, buckets = _evaluate(config, model, tokens)
    _print(config, evaluation, buckets)
    return 0


def _evaluate(
    config: EvaluateConfig, model: "MMRecForCausalLM", tokens: "TokenFile"
) -> "tuple[Evaluation, list[dict[str, Any]]]":
    from mm_rec.data.batches import evaluation_batches
    from mm_rec.training.distributed import Place
    from mm_rec.training.evaluation import evaluate_model, losses_by_position
    from mm_rec.training.reports import Evaluation

    batches = evaluation_batches(tokens, config.batch_size, config.seq_len)
    if not config.by_position:
        place = Place(device=model.device)
        found = evaluate_model(
            model, batches, tokens.bytes_per_token, place, chunk_size=config.chunk_size
        )
        return found, []
    sums, counts = losses_by_position(model, batches, config.chunk_size)
    evaluation = Evaluation(
        loss=float(sums.sum() / counts.sum()),
        tokens=int(counts.sum()),
        bytes_per_token=tokens.bytes_per_token,
    )
    return evaluation, bucket_losses(sums, counts)


def bucket_losses(sums: "Tensor", counts: "Tensor") -> list[dict[str, Any]]:
    """Return the mean loss in buckets of positions that double in width: 0-15, 16-31, 32-63, ...

    sums, counts: [T], summed losses and labels at each position. Empty buckets are left out.
    """
    buckets, start, end = [], 0, FIRST_BUCKET
    while start < len(sums):
        labels = int(counts[start:end].sum())
        if labels:
            loss = float(sums[start:end].sum()) / labels
            last = min(end, len(sums)) - 1
            buckets.append({"first": start, "last": last, "tokens": labels, "loss": loss})
        start, end = end, 2 * end
    return buckets


def _print(config: EvaluateConfig, evaluation: "Evaluation", buckets: list[dict[str, Any]]) -> None:
    facts = {
        **asdict(evaluation),
        "perplexity": evaluation.perplexity,
        "bits_per_byte": evaluation.bits_per_byte,
    }
    if config.use_json:
        more = {"by_position": buckets} if config.by_position else {}
        print(json.dumps({"settings": asdict(config), **facts, **more}, indent=1))
        return
    from mm_rec.scripts.training_display import print_rows

    print_rows(
        [
            ("tokens", f"{evaluation.tokens:,}"),
            ("loss", f"{evaluation.loss:.4f}"),
            ("perplexity", f"{evaluation.perplexity:.3f}"),
            ("bits per byte", f"{evaluation.bits_per_byte:.4f}"),
        ]
    )
    if buckets:
        print(f"\n{'position':>15}  {'loss':>7}  {'tokens':>10}")
    for one in buckets:
        positions = f"{one['first']:,}-{one['last']:,}"
        print(f"{positions:>15}  {one['loss']:7.4f}  {one['tokens']:10,}")


if __name__ == "__main__":
    end_with_status(main, "evaluate")
