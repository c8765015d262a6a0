"""`ivme demo`: the guided tour, on this machine, without a network."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ivme.cli.printing import notices, print_figures, results

if TYPE_CHECKING:
    from ivme.bench.listening import Listener
    from ivme.measure.records import Record

MODELS = ("preset:bert-tiny", "preset:gpt2-tiny", "preset:t5-tiny")
TEXTS = 40  # of the built-in corpus
BUDGET_S = 2.0  # of calls, a configuration
COMPARE_BUDGET_S = 10.0  # a paired comparison
REPORT = "report.html"


def demo(
    folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the records and the report.")
    ] = Path("out/demo"),
) -> None:
    """Take the guided tour.

    This machine, one model two ways, three architectures, one report. Under three minutes on two
    cores. Tiny models with random weights stand in for yours: speed and memory do not depend on
    what the weights say.
    """
    from ivme.cli.handing_over import check_writable
    from ivme.measure.records import save_record
    from ivme.report.writing import write_report

    check_writable(folder / REPORT)
    folder.mkdir(parents=True, exist_ok=True)
    records: dict[str, Record] = {}
    for number, (name, explain, measure) in enumerate(_stations(), start=1):
        _announce(number, explain)
        records[name] = measure()
        save_record(records[name], folder / f"{name}.json")
        if not records[name].is_complete:  # Ctrl-C ends the tour, not one stop of it
            raise typer.Exit(1)
    report = folder / REPORT
    write_report(list(records.values()), report)
    _say_goodbye(report)


def _stations() -> "list[tuple[str, str, Callable[[], Record]]]":
    """Return the stops of the tour: a name, what is about to be shown, how to measure it."""
    return [
        (
            "doctor",
            "What this machine is, and the most that it can do. Every later figure can be put "
            "next to these ceilings.",
            _doctor,
        ),
        (
            "bench",
            f"One model, two ways: {MODELS[0]} called by hand against the Transformers pipeline, "
            f"in turns, on {TEXTS} texts of Python's own documentation.",
            _bench,
        ),
        (
            "compare",
            "Three architectures on the same texts: an encoder, a decoder, and both.",
            _compare,
        ),
    ]


def _doctor() -> "Record":
    from ivme.cli.doctor import examine

    return examine(quick=True)


def _bench() -> "Record":
    from ivme.bench.configuration import BenchConfig, TextSource
    from ivme.bench.sweep import run_bench

    config = BenchConfig(
        model=MODELS[0],
        versus="pipeline",
        batch_sizes=(1, 8),
        texts=TextSource(file="corpus", limit=TEXTS),
        budget_s=BUDGET_S,
        compare_budget_s=COMPARE_BUDGET_S,
    )
    command = f"ivme bench {MODELS[0]} --versus pipeline --texts corpus --limit {TEXTS}"
    return _shown(lambda listener: run_bench(config, command=command.split(), listener=listener))


def _compare() -> "Record":
    from ivme.bench.architectures import CompareConfig, run_compare
    from ivme.bench.configuration import TextSource

    config = CompareConfig(
        models=MODELS,
        texts=TextSource(file="corpus", limit=TEXTS // 4),
        budget_s=BUDGET_S,
        compare_budget_s=COMPARE_BUDGET_S,
    )
    command = f"ivme compare {' '.join(MODELS)} --limit {TEXTS // 4}"
    return _shown(lambda listener: run_compare(config, command=command.split(), listener=listener))


def _shown(measure: "Callable[[Listener], Record]") -> "Record":
    """Measure with progress, print the tables, return the record."""
    from ivme.cli.handing_over import with_progress

    record = with_progress(measure)
    print_figures(results(), record)
    return record


def _announce(number: int, explain: str) -> None:
    from rich.rule import Rule

    console = results()
    console.print()
    console.print(Rule(f"{number}", style="cyan", align="left"))
    console.print(explain, markup=False)
    notices().print()


def _say_goodbye(report: Path) -> None:
    console = results()
    console.print(f"\nThe whole tour as one page: {report}", style="bold green", markup=False)
    console.print(
        "\nNow your own model and texts:\n"
        "  ivme bench FOLDER_OR_HUB_ID --texts FILE --versus pipeline -o bench.json\n"
        "  ivme report bench.json\n",
        markup=False,
    )
