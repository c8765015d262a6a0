"""`ivme bench`: one text model, measured."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ivme.cli.arguments import split_counts, split_names
from ivme.cli.handing_over import hand_over


def bench(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help='A model folder, a hub id, or a preset that needs no network: "preset:bert-tiny".',
        ),
    ],
    engine: Annotated[
        str, typer.Option(help="Engines, with commas between: NAME or NAME:PRECISION.")
    ] = "transformers",
    versus: Annotated[
        str | None,
        typer.Option(help="An engine to compare with, paired and interleaved; as for --engine."),
    ] = None,
    batch_size: Annotated[str, typer.Option(help="Texts a call, with commas between.")] = "1,8",
    tokens: Annotated[
        str, typer.Option(help="Lengths of made-up texts in tokens, with commas between.")
    ] = "32,128,512",
    texts: Annotated[
        str | None,
        typer.Option(
            help='Real texts in place of --tokens: a .txt, .csv, .tsv or .jsonl file, or "corpus".'
        ),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help='Column of --texts with the texts; "text" unless given.')
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take no more texts than this.")] = None,
    dtype: Annotated[
        str, typer.Option(help="Of float32, bfloat16, float16, with commas between.")
    ] = "float32",
    device: Annotated[
        str, typer.Option(help="cpu, cuda, mps, with commas between; auto: the fastest.")
    ] = "auto",
    attention: Annotated[
        str | None, typer.Option(help="sdpa or eager; sdpa where the model has it.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="classifier, masked, causal, seq2seq or embedding; as its config says."),
    ] = None,
    order: Annotated[str, typer.Option(help="Batches as given, or sorted by length.")] = "given",
    padding: Annotated[
        str, typer.Option(help="dynamic: to a batch's longest text; fixed: to --max-length.")
    ] = "dynamic",
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Cut texts to so many tokens; the model's limit.")
    ] = None,
    new_tokens: Annotated[int, typer.Option(min=1, help="Tokens to generate a text.")] = 16,
    threads: Annotated[
        int | None, typer.Option(min=1, help="For every engine alike; all usable cores.")
    ] = None,
    budget: Annotated[float, typer.Option(help="Seconds of calls a configuration.")] = 3.0,
    compare_budget: Annotated[float, typer.Option(help="Seconds a paired comparison.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Of made-up texts and of the order of turns.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the record to this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record alone, as JSON.")] = False,
) -> None:
    """Measure a text model on this machine.

    Tokenizer, load, first call, steady state and memory. Options that take lists are swept. The
    record that --output writes holds every raw sample; `ivme report` turns it into a page.
    """
    from ivme.bench.configuration import BenchConfig, TextSource
    from ivme.bench.sweep import run_bench
    from ivme.errors import UsageError

    if texts is None and (column or limit):
        raise UsageError("--column and --limit belong to --texts; give --texts FILE with them")
    config = BenchConfig(
        model=model,
        engines=split_names(engine),
        versus=versus,
        batch_sizes=split_counts(batch_size, "--batch-size"),
        token_counts=split_counts(tokens, "--tokens"),
        texts=TextSource(file=texts, column=column, limit=limit) if texts else None,
        dtypes=split_names(dtype),
        devices=tuple(None if name == "auto" else name for name in split_names(device)),
        attention=attention,
        kind=kind,
        order=order,
        padding=padding,
        threads=threads,
        max_length=max_length,
        new_tokens=new_tokens,
        budget_s=budget,
        compare_budget_s=compare_budget,
        seed=seed,
    )
    command = ("ivme", *sys.argv[1:])
    hand_over(
        lambda listener: run_bench(config, command=command, listener=listener),
        output,
        as_json=json,
        reads=texts,
    )
