"""Measuring claims: each command once, a verdict for each claim, and a record of it all.

What commands found goes into a journal as they end, so that an interrupted ledger goes on. A
command that fails fails its claims alone; the others are measured all the same.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ivme.errors import IvmeError
from ivme.evidence.ledger import Claim, Command, Ledger
from ivme.evidence.needs import NEEDS
from ivme.evidence.readers import read_figure
from ivme.evidence.running import run_command
from ivme.evidence.verdict import UNTESTED, judge
from ivme.hardware.inventory import Inventory, read_inventory
from ivme.measure.clock import Clock, SystemClock
from ivme.measure.records import Measurement, Record, library_versions, new_record
from ivme.tune.journal import Journal

KIND = "claims"  # of the record
JOURNAL, RECORDS = "journal.jsonl", "records"  # in the folder of a ledger's run


def _silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class ClaimsConfig:
    """Which claims to measure, and where."""

    ledger: Ledger
    root: Path  # the checkout that commands run in
    folder: Path  # of the records, the journal and what commands print
    ids: Sequence[str] | None = None  # None: all
    is_quick: bool = False
    resume: bool = False  # go on with the journal in the folder, if there is one
    tell: Callable[[str], None] = _silent
    clock: Clock = field(default_factory=SystemClock)

    @property
    def claims(self) -> list[Claim]:
        """The claims chosen."""
        return self.ledger.select(self.ids, is_quick=self.is_quick)


def measure_claims(config: ClaimsConfig, command: Sequence[str]) -> Record:
    """Return the record of all claims chosen: claimed, measured, verdict.

    command: as the caller was started. Ctrl-C ends it after the whole commands, and the record is
    not complete. Claims whose command failed have the reason as `failure`.

    Raises UsageError for an id that no claim has.
    """
    claims, inventory = config.claims, read_inventory(with_torch=True)
    journal = _open_journal(config, inventory)
    measurements, is_complete = [], True
    outcomes: dict[str, Any] = {}
    names = list(dict.fromkeys(claim.command for claim in claims))
    for number, name in enumerate(names, start=1):
        each = config.ledger.commands[name]
        config.tell(f"{number} of {len(names)}: {each.shown} (about {each.usual_s:g} s)")
        try:
            outcomes[name] = _outcome(each, config, inventory, journal)
        except KeyboardInterrupt:
            is_complete = False
            break
    measured = [claim for claim in claims if claim.command in outcomes]
    measurements = [_measurement(claim, config.ledger, outcomes) for claim in measured]
    if is_complete and not any(one.failure for one in measurements):
        journal.remove()
    return new_record(
        KIND,
        command,
        asdict(inventory),
        {"quick": config.is_quick, "only": list(config.ids or ())},
        measurements=measurements,
        is_complete=is_complete,
    )


def _open_journal(config: ClaimsConfig, inventory: Inventory) -> Journal:
    """Return the journal to go on with, or a new one: of this machine, versions and commands."""
    path = config.folder / JOURNAL
    if not config.resume:
        path.unlink(missing_ok=True)
    fingerprint = {
        "machine": inventory.fingerprint,
        "versions": library_versions(),
        "commands": {name: one.line for name, one in config.ledger.commands.items()},
    }
    journal = Journal(path, fingerprint, config.clock)
    if journal.was_replaced:
        config.tell("what was measured before is of another machine, version or ledger: anew")
    elif len(journal):
        config.tell(f"{len(journal)} commands were measured before")
    return journal


def _outcome(
    command: Command, config: ClaimsConfig, inventory: Inventory, journal: Journal
) -> Mapping[str, Any]:
    """Return {"content": the record}, {"lacks": why it cannot run here} or {"failure": why}.

    Only a record that holds the figures of all its claims is kept for later runs.
    """
    lacks = [reason for name in command.needs if (reason := NEEDS[name](inventory)) is not None]
    if lacks:
        return {"lacks": ", ".join(lacks)}
    contents: list[dict[str, Any]] = []

    def run() -> dict[str, Any]:
        contents.append(run_command(command, config.folder / RECORDS, config.root))
        for claim in config.ledger.claims:
            if claim.command == command.name:
                read_figure(contents[0], claim.figure)
        return contents[0]

    try:
        return {"content": journal.step(command.name, run)}
    except IvmeError as error:
        config.tell(f"{command.name} failed: {error}")
        return {"content": contents[0]} if contents else {"failure": str(error)}


def _measurement(claim: Claim, ledger: Ledger, outcomes: Mapping[str, Any]) -> Measurement:
    outcome, command = outcomes[claim.command], ledger.commands[claim.command]
    facts: dict[str, Any] = {"claimed": asdict(claim.claimed), "text": claim.text}
    failure = outcome.get("failure")
    if "lacks" in outcome:
        facts |= {"verdict": UNTESTED, "reason": outcome["lacks"]}
    elif failure is None:
        try:
            figure = read_figure(outcome["content"], claim.figure)
        except IvmeError as error:
            failure = str(error)
        else:
            verdict = judge(claim.claimed, figure)
            facts |= {
                "measured": asdict(figure),
                "verdict": verdict.word,
                "is_close": verdict.is_close,
            }
    return Measurement(
        label=claim.id,
        configuration={
            "document": ledger.documents[claim.document].file,
            "group": claim.group,
            "command": command.shown,
        },
        failure=failure,
        facts=json.loads(json.dumps(facts)),
    )
