"""The ledger: what the source documents claim, and the command that measures each claim.

Owns claims.toml and its format. Knows nothing of running commands.
"""

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ivme.errors import UsageError

LEDGER_FILE = Path(__file__).with_name("claims.toml")
RECORD_PLACE = "{record}"  # in a command: where its record is to be written
KINDS = ("ratio", "percent", "seconds", "bytes", "count")
DIRECTIONS = ("at least", "at most", "about")


@dataclass(frozen=True, kw_only=True)
class SourceDocument:
    """A document whose claims are measured."""

    name: str  # the key in the ledger
    file: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line that writes a JSON record."""

    name: str
    line: str  # with RECORD_PLACE in it
    limit_s: float  # after which it is ended
    usual_s: float  # what it takes on two cores
    needs: tuple[str, ...] = ()  # names of ivme.evidence.needs

    @property
    def shown(self) -> str:
        """What a reader types; the record's place left out."""
        words = [word for word in shlex.split(self.line) if word != RECORD_PLACE]
        return shlex.join(word for word in words if word not in ("--output", "-o"))


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The figure claimed, in SI units (percent as 25, not 0.25)."""

    kind: str  # one of KINDS
    low: float
    high: float
    direction: str = "at least"  # one of DIRECTIONS
    margin: float = 0.1  # by which the range is widened before a figure is judged
    words: str | None = None  # how the document puts it, where it gives no figure


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement of a document, and how its figure is read from a command's record."""

    id: str
    document: str
    group: str
    text: str
    claimed: Claimed
    command: str
    figure: Mapping[str, Any]  # {"reader": one of ivme.evidence.readers.READERS, ...}
    is_quick: bool = True
    remark: str | None = None  # what a reader of the verdict must know


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All claims, with the documents that make them and the commands that measure them."""

    documents: Mapping[str, SourceDocument]
    commands: Mapping[str, Command]
    claims: Sequence[Claim] = field(default_factory=tuple)

    def select(self, ids: Sequence[str] | None = None, *, is_quick: bool = False) -> list[Claim]:
        """Return the claims of these ids, or all; with `is_quick` those of the quick ledger.

        Raises UsageError for an id that no claim has, or none of the quick ledger.
        """
        known = {claim.id for claim in self.claims}
        unknown = sorted(set(ids or ()) - known)
        if unknown:
            raise UsageError(
                f"no claim {', '.join(unknown)}; `ivme claims --list` names all {len(known)}"
            )
        chosen = [claim for claim in self.claims if ids is None or claim.id in ids]
        slow = [claim.id for claim in chosen if is_quick and not claim.is_quick]
        if ids is not None and slow:
            raise UsageError(f"{', '.join(slow)}: not of the quick ledger; leave out --quick")
        return [claim for claim in chosen if claim.id not in slow]


def read_ledger(path: Path = LEDGER_FILE) -> Ledger:
    """Return the ledger in a file.

    Raises UsageError, naming the entry, for a file that cannot be read or does not fit together.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give a claims file") from error
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    try:
        ledger = Ledger(
            documents={
                name: SourceDocument(name=name, **entry)
                for name, entry in content["documents"].items()
            },
            commands={name: _command(name, one) for name, one in content["commands"].items()},
            claims=tuple(_claim(entry, path) for entry in content["claims"]),
        )
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: {error}; see the entries beside it") from error
    _check(ledger, path)
    return ledger


def _command(name: str, entry: Mapping[str, Any]) -> Command:
    return Command(name=name, **{**entry, "needs": tuple(entry.get("needs", ()))})


def _claim(entry: Mapping[str, Any], path: Path) -> Claim:
    try:
        return Claim(**{**entry, "claimed": Claimed(**entry["claimed"])})
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}, claim {entry.get('id', '?')!r}: {error}") from error


def _check(ledger: Ledger, path: Path) -> None:
    """Raise UsageError for names that nothing has, ids given twice, and ranges upside down."""
    from ivme.evidence.needs import NEEDS
    from ivme.evidence.readers import READERS

    for command in ledger.commands.values():
        where = f"{path}, command {command.name!r}"
        if RECORD_PLACE not in command.line:
            raise UsageError(f"{where}: expected {RECORD_PLACE} in its line, for the record")
        _require(set(command.needs) <= set(NEEDS), where, "needs", command.needs, NEEDS)
    seen: set[str] = set()
    for claim in ledger.claims:
        where = f"{path}, claim {claim.id!r}"
        if claim.id in seen:
            raise UsageError(f"{where}: another claim has this id; expected one of its own")
        seen.add(claim.id)
        claimed = claim.claimed
        for name, value, allowed in (
            ("document", claim.document, ledger.documents),
            ("command", claim.command, ledger.commands),
            ("kind", claimed.kind, KINDS),
            ("direction", claimed.direction, DIRECTIONS),
            ("reader", claim.figure.get("reader"), READERS),
        ):
            _require(value in allowed, where, name, value, allowed)
        if claimed.low > claimed.high:
            raise UsageError(f"{where}: low={claimed.low} above high={claimed.high}")


def _require(is_met: bool, where: str, name: str, value: object, allowed: Any) -> None:
    if not is_met:
        raise UsageError(f"{where}: {name}={value!r}; expected one of {', '.join(sorted(allowed))}")
