"""`ivme diagnose`: why training is slow, and what would help."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ivme.diagnose.configuration import DiagnoseConfig
    from ivme.diagnose.diagnosis import Diagnosis
    from ivme.measure.records import Record


def diagnose(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="An MM-Rec preset or checkpoint folder; a Hugging Face model by folder, hub id or "
            'preset; or a Python file that offers make_step(), as in "train_step.py".',
        ),
    ],
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Items a pass, as they are now; 2, MM-Rec: its own.")
    ] = None,
    sequence_length: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens an item; 512 or the model's limit, MM-Rec: its own."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, or bfloat16 for autocast; float32.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Data workers; 0: the step makes its batch.")
    ] = None,
    prefetch: Annotated[
        int | None, typer.Option(min=1, help="Batches that each worker keeps ready; 2.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch; all usable cores.")
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="The set-up uses torch.compile now.")
    ] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="It uses gradient checkpointing now.")
    ] = False,
    accumulation: Annotated[
        int | None, typer.Option(min=1, help="Passes whose gradients make one step; 1.")
    ] = None,
    texts: Annotated[
        str | None, typer.Option(help="File of texts to train on; the built-in corpus.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="classifier, masked, causal, seq2seq or embedding; as its config says."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Seconds to look at the step and try settings; 150, or 45 with --quick."),
    ] = None,
    step_limit: Annotated[
        float,
        typer.Option(
            help="Seconds after which a step counts as hanging; the first of a compiled one has a "
            "third of the budget, if that is more."
        ),
    ] = 60.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Batch size, workers, threads and precision alone.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Measure the advice once more, in fresh processes; +30 s."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the order of turns.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the record to this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record alone, as JSON.")] = False,
) -> None:
    """Find out why training is slow.

    Takes a training step apart (phases, operators, source lines, cores, memory), then turns one
    setting at a time, and the pairs that matter, in turns with the set-up as it is. Ends with
    advice in order of measured gain, with the command line that applies it. The step runs in
    processes of its own: one that hangs, leaks or dies is named, and what was found is kept.
    """
    from ivme.cli.handing_over import check_writable
    from ivme.diagnose.configuration import DEFAULT_BUDGET_S, QUICK_BUDGET_S, DiagnoseConfig

    given = {
        "batch_size": batch_size,
        "sequence_length": sequence_length,
        "dtype": dtype,
        "workers": workers,
        "prefetch": prefetch,
        "threads": threads,
        "compile": compile or None,
        "checkpointing": checkpointing or None,
        "accumulation": accumulation,
    }
    config = DiagnoseConfig(
        target=target,
        given={name: value for name, value in given.items() if value is not None},
        texts=texts,
        kind=kind,
        budget_s=budget if budget is not None else QUICK_BUDGET_S if quick else DEFAULT_BUDGET_S,
        step_limit_s=step_limit,
        is_quick=quick,
        check=check,
        seed=seed,
    )
    check_writable(output, target, texts)
    _hand_over(_diagnose_with_progress(config), output, as_json=json)


def _diagnose_with_progress(config: "DiagnoseConfig") -> "Diagnosis":
    from rich.markup import escape

    from ivme.cli.printing import notices
    from ivme.diagnose.diagnosis import run_diagnose

    with notices().status("starting") as status:
        return run_diagnose(
            config,
            command=("ivme", *sys.argv[1:]),
            tell=lambda text: status.update(escape(text)),
        )


def _hand_over(diagnosis: "Diagnosis", output: Path | None, *, as_json: bool) -> None:
    """Print and keep what was found; then leave with what ended it early, if anything did."""
    from ivme.cli.handing_over import show_and_keep
    from ivme.measure.records import save_record

    record = diagnosis.record
    if as_json or any(one.samples_s for one in record.measurements):
        show_and_keep(record, output, lambda: _print_record(record), as_json=as_json)
    elif output is not None:
        save_record(record, output)
    if diagnosis.failure is not None:
        raise diagnosis.failure
    if not record.is_complete:
        raise typer.Exit(1)


def _print_record(record: "Record") -> None:
    from ivme.cli.printing import print_table, results
    from ivme.report.sections import diagnose as answers
    from ivme.report.sections import diagnose_anatomy as anatomy
    from ivme.report.sections.diagnose_sweeps import sweep_table

    console = results()
    parts: list[Any] = [
        anatomy.phase_table,
        anatomy.memory_table,
        anatomy.core_table,
        anatomy.operator_table,
        anatomy.line_table,
        sweep_table,
        answers.no_help_table,
        answers.left_out_table,
        answers.savings_table,
        answers.advice_table,
    ]
    for build in parts:
        table = build(record)
        if table is not None:
            print_table(console, table)
        if build is anatomy.phase_table:
            for text in anatomy.anatomy_sentences(record):
                console.print(text, markup=False)
    _print_answers(record)


def _print_answers(record: "Record") -> None:
    """Print last what a reader looks for first: who is to blame, and what to type."""
    from ivme.cli.printing import notices, results
    from ivme.report.sections.diagnose import (
        advice_sentence,
        check_sentence,
        diagnosed,
        promise_sentences,
        suspect_sentence,
    )

    console, found = results(), diagnosed(record)
    assert found is not None
    for number, advice in enumerate(found[1]["advice"], start=1):
        console.print(f"\n{number}. {advice_sentence(advice)}", markup=False)
        console.print(f"   {advice['command']}", style="cyan", markup=False, soft_wrap=True)
    console.print("\nWho is to blame", style="bold")
    for suspect in found[1]["suspects"]:
        console.print(f"- {suspect_sentence(suspect)}", markup=False)
    console.print()
    for text in promise_sentences(record):
        console.print(text, style="bold green" if found[1]["advice"] else "", markup=False)
    check = check_sentence(found[1])
    if check:
        console.print(check, markup=False)
    for note in record.notes:
        notices().print(note, style="yellow", markup=False)
    if not record.is_complete:
        console.print("Ended early: this is what was found until then.", style="yellow")
