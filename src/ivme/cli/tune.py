"""`ivme tune`: the fastest way to run a model that keeps its quality."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ivme.cli.arguments import split_counts, split_names

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from ivme.measure.records import Record
    from ivme.tune.configuration import TuneConfig
    from ivme.tune.entries import Entry
    from ivme.tune.tuning import TuneResult


def tune(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help='A model folder, a hub id, or a preset that needs no network: "preset:bert-tiny".',
        ),
    ],
    texts: Annotated[
        str,
        typer.Option(
            help="Your own texts: a .txt, .csv, .tsv or .jsonl file; quality is judged on them. "
            '"corpus": the built-in ones.'
        ),
    ] = "corpus",
    column: Annotated[
        str | None, typer.Option(help='Column of --texts with the texts; "text" unless given.')
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Column with the true labels; without, answers are compared."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take no more texts than this.")] = None,
    max_quality_loss: Annotated[
        str, typer.Option(help="The most that may be lost, to be sure of at 95%.")
    ] = "0.5%",
    metric: Annotated[str, typer.Option(help="With --labels: accuracy or f1.")] = "accuracy",
    objective: Annotated[
        str, typer.Option(help="latency: of one text; throughput: of all texts, in batches.")
    ] = "latency",
    budget: Annotated[float, typer.Option(help="Seconds for everything.")] = 300.0,
    engine: Annotated[
        str | None,
        typer.Option(help="Try these alone: NAME or NAME:PRECISION, with commas between."),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(help="Thread counts to try, with commas between; all cores, and half."),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Time made-up texts of so many tokens instead.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Cut texts to so many tokens; the model's limit.")
    ] = None,
    new_tokens: Annotated[int, typer.Option(min=1, help="Tokens to generate a text.")] = 16,
    max_memory: Annotated[
        str | None, typer.Option(help="The most memory that it may take alone, as in 500MB.")
    ] = None,
    allow_truncation: Annotated[
        int | None,
        typer.Option(min=1, help="Where memory runs out, texts may be cut to so many tokens."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps; auto: the fastest.")] = "auto",
    kind: Annotated[
        str | None,
        typer.Option(help="classifier, masked, causal, seq2seq or embedding; as its config says."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of made-up texts and of the order of turns.")] = 0,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", "-o", help="Write the tuned model into this folder."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the record to this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record alone, as JSON.")] = False,
) -> None:
    """Find the fastest way to run a text model that keeps its quality.

    Tries every engine, precision, batch size and thread count that fits, and keeps what loses no
    more than allowed. The folder that -o names runs by itself: `ivme predict`, `ivme serve`.
    """
    from ivme.bench.configuration import TextSource
    from ivme.cli.handing_over import check_writable
    from ivme.tune.configuration import TuneConfig

    config = TuneConfig(
        model=model,
        texts=TextSource(file=texts, column=column, limit=limit),
        labels=labels,
        metric=metric,
        max_quality_loss=read_share(max_quality_loss),
        objective=objective,
        budget_s=budget,
        engines=split_names(engine) if engine else (),
        threads=split_counts(threads, "--threads") if threads else (),
        tokens=tokens,
        max_length=max_length,
        new_tokens=new_tokens,
        max_memory_bytes=read_bytes(max_memory) if max_memory else None,
        allow_truncation=allow_truncation,
        device=None if device == "auto" else device,
        kind=kind,
        seed=seed,
    )
    check_writable(output, texts)
    _check_apart(output, plan)
    result = _search_with_progress(config, plan)
    _hand_over(result, plan, output, as_json=json)


def _check_apart(output: Path | None, plan: Path | None) -> None:
    """Raise UsageError for a record inside the plan's folder, where it could replace a part."""
    from ivme.errors import UsageError

    if output is not None and plan is not None and output.resolve().is_relative_to(plan.resolve()):
        raise UsageError(
            f"cannot write {output}: it is in the folder of the plan, {plan}; name a file elsewhere"
        )


def read_share(text: str) -> float:
    """Return the share that "0.5%" or "0.005" names."""
    from ivme.errors import UsageError

    number = text.strip().removesuffix("%")
    try:
        return float(number) / (100 if number != text.strip() else 1)
    except ValueError as error:
        raise UsageError(f"{text!r} is no share; expected one as in 0.5% or 0.005") from error


def read_bytes(text: str) -> int:
    """Return the bytes that "500MB", "1.5GiB" or "2000000" names."""
    from ivme.errors import UsageError

    units = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 1e3, "mb": 1e6, "gb": 1e9, "b": 1}
    short = text.strip().lower().replace(" ", "")
    unit = next((name for name in units if short.endswith(name)), "")
    try:
        return int(float(short.removesuffix(unit)) * units.get(unit, 1))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is no amount of memory; expected one as in 500MB") from error


def _search_with_progress(config: "TuneConfig", plan: Path | None) -> "TuneResult":
    """Search while a table on the terminal shows how the variants do."""
    from rich.console import Group
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    from ivme.bench.listening import Listener
    from ivme.cli.printing import notices
    from ivme.tune.tuning import run_tune

    entries: dict[int, Entry] = {}
    spinner = Spinner("dots", text="starting")

    def show() -> Group:
        return Group(_live_table(list(entries.values())), spinner) if entries else Group(spinner)

    with Live(console=notices(), get_renderable=show, transient=True, refresh_per_second=4):

        def tell(text: str) -> None:
            spinner.update(text=Text(text))

        def keep(entry: "Entry") -> None:
            entries[id(entry)] = entry

        command = ("ivme", *sys.argv[1:])
        return run_tune(config, plan, command=command, listener=Listener(tell=tell), on_entry=keep)


def _live_table(entries: "list[Entry]") -> "Grid":
    from rich.table import Table as Grid
    from rich.text import Text

    from ivme.report.formatting import format_percent, format_ratio

    grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="cyan")
    for name in ("Variant", "Times as fast", "Loss at most", "State"):
        grid.add_column(name, justify="left" if name in ("Variant", "State") else "right")
    ranked = sorted(entries, key=lambda one: (one.ratio is None, one.ratio or 0.0))
    for one in ranked:
        bound = (one.quality or {}).get("loss_bound")
        grid.add_row(
            Text(one.label),
            format_ratio(1 / one.ratio) if one.ratio else "",
            format_percent(bound) if bound is not None else "",
            Text(one.status),
        )
    return grid


def _hand_over(
    result: "TuneResult", plan: Path | None, output: Path | None, *, as_json: bool
) -> None:
    """Print and keep what was found; leave with exit status 1 if nothing was chosen."""
    from ivme.cli.printing import notices
    from ivme.measure.records import record_to_json, save_record

    if as_json:
        print(record_to_json(result.record), end="")
    else:
        _print_record(result.record)
    if output is not None:  # last, so that a full disk costs no figure
        save_record(result.record, output)
    if result.failure is not None:
        if result.failure != "interrupted":
            notices().print(f"ivme: {result.failure}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    if not as_json:
        print(_next_steps(plan if result.plan is not None else None, output))


def _print_record(record: "Record") -> None:
    from ivme.cli.printing import print_comparison, print_table, results
    from ivme.report.sections.tuning import (
        discarded_table,
        phase_table,
        remark_table,
        variant_table,
    )

    console = results()
    for comparison in record.comparisons:
        print_comparison(console, comparison)
    for build in (variant_table, phase_table):
        table = build(record)
        if table is not None:
            print_table(console, table)
    for build in (discarded_table, remark_table):
        table = build(record)
        if table is not None:
            console.print(f"\n{table.caption}", style="bold", markup=False)
            for variants, text in table.rows:
                console.print(f"  {variants}: {text}", markup=False)
    console.print()
    for note in record.notes:
        console.print(note, style="yellow", markup=False)
    if not record.is_complete:
        console.print("Interrupted: this is what was found until then.", style="yellow")


def _next_steps(plan: Path | None, output: Path | None) -> str:
    lines = []
    if output is not None:
        lines += [f"record: {output}", f"report: ivme report {output}"]
    if plan is not None:
        lines += [f"plan:   {plan}", f"next:   ivme predict --plan {plan} FILE"]
    if not lines:
        lines = [
            "Write the tuned model with -o FOLDER, and keep every raw sample with --output FILE."
        ]
    return "\n" + "\n".join(lines)
