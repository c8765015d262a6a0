"""`ivme demo`: the guided tour, on this machine, without a network."""

import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ivme.cli.printing import notices, print_figures, print_table, results

if TYPE_CHECKING:
    from ivme.bench.listening import Listener
    from ivme.measure.records import Record
    from ivme.tour.settings import TourSettings
    from ivme.tour.voting import Asked, Voting
    from ivme.tour.writing import Writing

REPORT = "report.html"
SHOWN = 280  # characters of a text
CUT: Literal["ellipsis"] = "ellipsis"  # what becomes of lines that are longer than the terminal

Tell = Callable[[str], None]


def demo(
    folder: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for models, records and the report."),
    ] = Path("out/demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="In 90 seconds: smaller models, and no benches.")
    ] = False,
) -> None:
    """Take the guided tour: one story in six minutes, offline.

    What this machine can do; one model two ways; a small MM-Rec learns to write; five classifiers
    learn to tell its writing from people's, and are tuned; all of it is scored, and put into one
    page. The models are a demo: they know nothing of other texts.
    """
    from ivme.cli.handing_over import check_writable
    from ivme.tour.settings import FULL, QUICK
    from ivme.tour.voting import check_ensemble
    from ivme.tour.writing import check_writer

    check_writable(folder / REPORT)
    check_writer(folder)
    check_ensemble(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tour = _Tour(QUICK if quick else FULL, folder)
    try:
        tour.take()
    except KeyboardInterrupt:
        tour.stop_early()


class _Tour:
    """One walk through all chapters: announces each, prints and keeps what it found."""

    def __init__(
        self,
        settings: "TourSettings",
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.folder = settings, folder
        self.console = results()
        self.records: list[Record] = []
        self.clock, self.start_s = clock, clock()
        self.chapter, self.chapters = 0, 4 if settings.engines_s is None else 6

    def take(self) -> None:
        """Go through all chapters."""
        self._announce("This machine", "What it is, and the most that it can do.")
        self._keep("doctor", _doctor())
        _print_machine(self.records[-1])
        if self.settings.engines_s is not None:
            self._take_engines(self.settings.engines_s)
        writing = self._write()
        self._vote(writing)
        self._announce("All of it on one page", "From the records alone, readable offline.")
        self.console.print(f"  {self._report()}", style="bold", markup=False)
        self._say_goodbye()

    def stop_early(self) -> None:
        """Say what there is after an interrupt, and leave with exit status 1."""
        kept = f"; what was found until then: {self._report()}" if self.records else ""
        notices().print(
            f"\nivme: interrupted in chapter {self.chapter} of {self.chapters}{kept}",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(1)

    def _take_engines(self, calls_s: float) -> None:
        from ivme.tour.engines import MODELS, TEXTS, bench_two_ways, compare_architectures

        self._announce(
            "One model, two ways",
            f"{MODELS[0]} called by hand against the Transformers pipeline, in turns, on {TEXTS} "
            "texts of Python's own documentation.",
        )
        self._measure("bench", lambda listener: bench_two_ways(calls_s, listener))
        self._announce(
            "Three architectures",
            "An encoder, a decoder, and both, on the same texts. Their weights are random: speed "
            "and memory do not depend on what weights say.",
        )
        self._measure("compare", lambda listener: compare_architectures(calls_s, listener))

    def _measure(self, name: str, measure: "Callable[[Listener], Record]") -> None:
        from ivme.cli.handing_over import with_progress

        self._keep(name, with_progress(measure))
        print_figures(self.console, self.records[-1])
        if not self.records[-1].is_complete:  # Ctrl-C ends the tour, not one stop of it
            raise KeyboardInterrupt

    def _write(self) -> "Writing":
        from ivme.tour.writing import learn_to_write

        self._announce(
            "A model learns to write",
            "MM-Rec is recurrent and made to train on processors. It starts from nothing and "
            "reads half of Python's documentation.",
        )
        with self._telling() as tell:
            writing = learn_to_write(self.settings, self.folder, tell)
        self._keep("pretrain", writing.record)
        _print_writing(writing)
        return writing

    def _vote(self, writing: "Writing") -> None:
        from ivme.cli.ensemble_train import all_threads
        from ivme.tour.voting import ask, train_voters

        texts = writing.texts
        self._announce(
            "Five classifiers learn to tell its writing from people's",
            "Two transformers, two kinds of trees and a linear model, on "
            f"{len(texts.train)} texts, half by each. The transformers are tuned for this "
            f"machine; all are judged on {len(texts.valid)} texts that none was trained on.",
        )
        with self._telling() as tell:
            voting = train_voters(
                self.settings, texts, self.folder, threads=all_threads(), progress=tell
            )
            tell("Asking...")
            asked = ask(self.folder, texts)
        for record in voting.searches:
            self._keep(f"tune-{record.settings['model']}", record)
        self._keep("evaluation", voting.record)
        _print_voting(voting)
        for one in asked:
            _print_asked(one, voting.ensemble.member_names)

    def _announce(self, title: str, explain: str) -> None:
        from rich.rule import Rule
        from rich.text import Text

        self.chapter += 1
        heading = Text.assemble(
            (f"{self.chapter} of {self.chapters}  ", "cyan"),
            (title, "bold"),
            (f"  {self._seconds():.0f} s", "dim"),
        )
        self.console.print()
        self.console.print(Rule(heading, style="cyan", align="left"))
        self.console.print(explain, markup=False)
        self.console.file.flush()  # before progress, which goes another way

    @contextmanager
    def _telling(self) -> Iterator[Tell]:
        """Give a function that shows lines with the seconds; one of each kind stays."""
        from rich.markup import escape

        shown: set[str] = set()
        console = notices()
        with console.status("starting") as status:

            def tell(line: str) -> None:
                timed = f"{self._seconds():4.0f} s  {line}"
                kind = re.sub(r"\d.*", "", line)  # one line of those that count something
                if kind not in shown:
                    console.print(timed, style="dim", markup=False, no_wrap=True, overflow=CUT)
                shown.add(kind)
                status.update(escape(timed))

            yield tell

    def _keep(self, name: str, record: "Record") -> None:
        from ivme.measure.records import save_record

        save_record(record, self.folder / f"{name}.json")
        self.records.append(record)

    def _report(self) -> Path:
        from ivme.report.writing import write_report

        path = self.folder / REPORT
        write_report(self.records, path)
        return path

    def _say_goodbye(self) -> None:
        from ivme.tour.voting import ENSEMBLE
        from ivme.tour.writing import WRITER

        model, writer = self.folder / ENSEMBLE, self.folder / WRITER
        self.console.print(f"\nThe tour took {self._seconds():.0f} s.", style="bold green")
        steps = {
            "Go on with the demo": (
                f"ivme serve {model}",
                f'ivme ensemble predict {model} "TEXT" --details',
                f'python -m mm_rec.scripts.generate --model {writer} --prompt "The function"',
            ),
            "Your own model and texts": (
                "ivme tune MODEL --texts FILE --max-quality-loss 0.5% -o plan",
                "ivme ensemble train --data FILE -o model",
                "python -m mm_rec.scripts.pretrain --data_dir TEXTS --checkpoint_dir run",
                "ivme diagnose MODEL",
            ),
        }
        activation = activation_command()
        if activation is not None:
            steps = {"First, so that the shell finds the commands": (activation,), **steps}
        for heading, commands in steps.items():
            self.console.print(f"\n{heading}", style="bold")
            for command in commands:
                self.console.print(f"  {command}", markup=False, soft_wrap=True)

    def _seconds(self) -> float:
        return self.clock() - self.start_s


def activation_command() -> str | None:
    """Return what makes a shell find this environment's commands, None where it does."""
    programs = Path(sys.executable).parent
    found = shutil.which("ivme")
    if found is not None and Path(found).parent.samefile(programs):
        return None
    if (programs / "activate").is_file():
        return f"source {shlex.quote(_from_here(programs / 'activate'))}"
    return f'export PATH={shlex.quote(str(programs))}:"$PATH"'


def _from_here(path: Path) -> str:
    """Return the path as it is typed in this folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _doctor() -> "Record":
    from ivme.cli.doctor import examine
    from ivme.models.quiet import quiet_libraries

    with quiet_libraries():  # engines are imported to look for their traps
        return examine(quick=True, is_shown=False)


def _print_machine(record: "Record") -> None:
    """Print what the machine reaches, and what is wrong with it; `ivme doctor` has the rest."""
    from ivme.report.sections.machine import ceiling_figures
    from ivme.report.sections.provenance import summary

    console = results()
    console.print(f"\n{summary(record)}", markup=False)
    for figure in ceiling_figures(record):
        console.print(f"  {figure.value:>14}  {figure.label}", markup=False)
    for note in record.notes:
        console.print(f"  ! {note}", style="yellow", markup=False)


def _print_writing(writing: "Writing") -> None:
    from ivme.report.sections.pretraining import pretraining_sentence

    [measurement] = writing.record.measurements
    console = results()
    console.print(f"\n{pretraining_sentence(measurement)}", markup=False)
    console.print("It writes now:", markup=False)
    _print_text(measurement.facts["pretraining"]["samples"][0])


def _print_voting(voting: "Voting") -> None:
    from ivme.cli.ensemble_evaluate import print_evaluation
    from ivme.cli.printing import print_comparison
    from ivme.report.sections.tuning import variant_table

    console = results()
    for record in voting.searches:
        console.print(f"\nThe search for {record.settings['model']}", style="bold", markup=False)
        for comparison in record.comparisons:
            print_comparison(console, comparison)
        table = variant_table(record)
        if table is not None:
            print_table(console, table)
    print_evaluation(voting.record)


def _print_asked(asked: "Asked", member_names: tuple[str, ...]) -> None:
    """Print a text, each member's vote on it, and what they say together."""
    from ivme.report.document import Table

    console, answer = results(), asked.answer
    console.print(f"\nA text of {asked.truth}", style="bold", markup=False)
    _print_text(asked.text)
    votes = answer["individual_results"]
    rows = tuple(
        (name, votes[name]["label"], f"{votes[name]['confidence']:.0%}")
        for name in member_names
        if name in votes
    )
    together = answer["ensemble"]
    verdict = (
        f"{together['label']}: {together['vote_count']} of {together['total_models']} members, in "
        f"{answer['details']['timings_ms']['total']:.0f} ms"
    )
    print_table(
        console,
        Table(
            caption=verdict,
            columns=("Member", "Says", "Confidence"),
            rows=rows,
            numeric=frozenset((2,)),
        ),
    )


def _print_text(text: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    shown = text if len(text) <= SHOWN else f"{text[:SHOWN].rsplit(' ', 1)[0]} ..."
    results().print(Padding(Text(shown, style="italic cyan"), (0, 2)))
