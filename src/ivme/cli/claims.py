"""`ivme claims`: is what they say true?"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ivme.evidence.ledger import Claim, Ledger
    from ivme.evidence.measuring import ClaimsConfig
    from ivme.measure.records import Record

PAGE = Path("docs", "PERFORMANCE_AND_DEPENDENCIES.md")  # in a checkout
RECORD = "claims.json"


def claims(
    only: Annotated[
        str | None, typer.Option(help="Ids of claims, with commas between; all unless given.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what takes long; under 15 minutes.")
    ] = False,
    show_list: Annotated[
        bool, typer.Option("--list", help="List the claims and their commands; measure nothing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted run of the folder ended.")
    ] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the records and of claims.json.")
    ] = Path("out", "claims"),
    docs: Annotated[
        Path | None,
        typer.Option(
            help="Write the page to this file; with all claims, or --quick, it is "
            f"{PAGE.as_posix()} of the checkout."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record alone, as JSON.")] = False,
) -> None:
    """Measure what the source documents claim, and judge it.

    Each claim has a command; each command runs once, in a process of its own with a time limit.
    Verdicts: holds, partly, does not hold, cannot be tested here. Writes a record and a page.
    """
    from ivme.cli.arguments import split_names
    from ivme.evidence.ledger import read_ledger
    from ivme.evidence.measuring import ClaimsConfig
    from ivme.evidence.running import checkout_folder

    ledger = read_ledger()
    ids = None if only is None else split_names(only)
    if show_list:
        _print_list(ledger, ledger.select(ids, is_quick=quick))
        return
    root = checkout_folder()
    config = ClaimsConfig(
        ledger=ledger,
        root=root,
        folder=output,
        ids=ids,
        is_quick=quick,
        resume=resume,
        tell=_tell,
    )
    _measure(config, docs, as_json=json)


def _measure(config: "ClaimsConfig", docs: Path | None, *, as_json: bool) -> None:
    """Measure, keep and print; leave with exit status 1 if a claim failed or it was ended early.

    docs: where the page goes; None: of a whole ledger, to its place in the checkout.
    """
    from ivme.cli.handing_over import check_writable
    from ivme.evidence.measuring import measure_claims
    from ivme.evidence.page import write_page
    from ivme.measure.records import record_to_json, save_record
    from ivme.whole_file import write_whole

    page = docs or (config.root / PAGE if config.ids is None else None)
    place = config.folder / RECORD
    for path in (place, page):
        check_writable(path)
    record = measure_claims(config, command=("ivme", *sys.argv[1:]))
    save_record(record, place)
    if record.is_complete and page is not None:
        write_whole(page, write_page(record, config.ledger))
    if as_json:
        print(record_to_json(record), end="")
    else:
        _print_record(record)
        print(f"\nrecord: {place}" + (f"\npage:   {page}" if page and record.is_complete else ""))
    resuming = _resuming(config, docs, as_json=as_json)
    failed = [one.label for one in record.measurements if one.failure is not None]
    if failed:
        _tell(f"failed: {', '.join(failed)}; mend their commands, then `{resuming}`")
    if not record.is_complete:
        _tell(f"ended early; go on with `{resuming}`")
    if failed or not record.is_complete:
        raise typer.Exit(1)


def _resuming(config: "ClaimsConfig", docs: Path | None, *, as_json: bool) -> str:
    """Return the command that goes on with the same claims in the same folder."""
    words = ["ivme", "claims", "--resume", "-o", str(config.folder)]
    if config.is_quick:
        words.append("--quick")
    if config.ids is not None:
        words += ["--only", ",".join(config.ids)]
    if docs is not None:
        words += ["--docs", str(docs)]
    if as_json:
        words.append("--json")
    return shlex.join(words)


def _tell(text: str) -> None:
    from ivme.cli.printing import notices

    notices().print(text, markup=False, soft_wrap=True)


def _print_list(ledger: "Ledger", chosen: "list[Claim]") -> None:
    from ivme.cli.printing import results
    from ivme.report.claim_wording import claimed_text

    console = results()
    for claim in chosen:
        slow = "" if claim.is_quick else " (not with --quick)"
        console.print(claim.id, style="bold", end=slow + "\n", markup=False)
        lines = (claim.text, f"claimed: {claimed_text(vars(claim.claimed))}")
        for line in (*lines, ledger.commands[claim.command].shown):
            console.print(f"  {line}", markup=False, soft_wrap=True)


def _print_record(record: "Record") -> None:
    from ivme.cli.printing import results
    from ivme.evidence.page import count_verdicts
    from ivme.report.claim_wording import claimed_text, measured_text, verdict_text

    console = results()
    for one in record.measurements:
        console.print(f"\n{one.label}", style="bold", markup=False)
        console.print(f"  {one.facts['text']}", markup=False)
        figure = measured_text(one.facts)
        if figure:
            claimed = claimed_text(one.facts["claimed"])
            console.print(f"  claimed {claimed}; measured {figure}", markup=False)
        console.print(f"  {verdict_text(one.failure, one.facts)}", markup=False)
    counts = count_verdicts(record.measurements)
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    console.print(f"\n{len(record.measurements)} claims: {told}", style="bold")
