"""`ivme compare`: models side by side."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ivme.cli.handing_over import hand_over


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Two or more: folders, hub ids or presets, such as preset:bert-tiny "
            "preset:gpt2-tiny preset:t5-tiny. The others are compared with the first.",
        ),
    ],
    texts: Annotated[
        str, typer.Option(help='A .txt, .csv, .tsv or .jsonl file, or "corpus".')
    ] = "corpus",
    column: Annotated[
        str | None, typer.Option(help='Column of --texts with the texts; "text" unless given.')
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Take no more texts than this.")] = 20,
    engine: Annotated[str, typer.Option(help="The engine that runs them all.")] = "transformers",
    batch_size: Annotated[int, typer.Option(min=1, help="Texts a call.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda, mps; auto: the fastest.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="All usable cores.")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Cut texts to so many tokens; what all models take.")
    ] = None,
    new_tokens: Annotated[
        int, typer.Option(min=2, help="Tokens a text that models write, where they write.")
    ] = 16,
    budget: Annotated[float, typer.Option(help="Seconds of calls a model and kind of work.")] = 3.0,
    compare_budget: Annotated[float, typer.Option(help="Seconds a paired comparison.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Of the texts and of the order of turns.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the record to this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record alone, as JSON.")] = False,
) -> None:
    """Put architectures side by side on the same texts.

    What they are, cost and are good for. All models read the same texts, in turns; those that
    write are timed writing too.
    """
    from ivme.bench.architectures import CompareConfig, run_compare
    from ivme.bench.configuration import TextSource

    config = CompareConfig(
        models=tuple(models),
        texts=TextSource(file=texts, column=column, limit=limit),
        engine=engine,
        batch_size=batch_size,
        dtype=dtype,
        device=None if device == "auto" else device,
        threads=threads,
        max_length=max_length,
        new_tokens=new_tokens,
        budget_s=budget,
        compare_budget_s=compare_budget,
        seed=seed,
    )
    command = ("ivme", *sys.argv[1:])
    hand_over(
        lambda listener: run_compare(config, command=command, listener=listener),
        output,
        as_json=json,
        reads=texts,
    )
