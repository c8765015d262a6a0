"""The `ivme` command: its groups, and how errors become exit statuses.

Command modules import nothing heavy at the top, so that `ivme --help` answers at once.
"""

import errno
import sys
from pathlib import Path
from typing import Annotated

import typer

from ivme import __version__
from ivme.cli.bench import bench
from ivme.cli.claims import claims
from ivme.cli.compare import compare
from ivme.cli.demo import demo
from ivme.cli.diagnose import diagnose
from ivme.cli.doctor import doctor
from ivme.cli.ensemble import ensemble
from ivme.cli.help_examples import examples_of
from ivme.cli.loadtest import loadtest
from ivme.cli.predict import predict
from ivme.cli.report import report
from ivme.cli.serve import serve
from ivme.cli.tune import tune
from ivme.errors import IvmeError

INTERRUPTED = 130  # what typer makes of Ctrl-C
# What a machine refuses, whatever was asked for: no room, no right to write.
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

app = typer.Typer(
    name="ivme",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: a third faster than the decorated one
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    doctor,
    bench,
    compare,
    tune,
    diagnose,
    predict,
    serve,
    loadtest,
    report,
    claims,
    demo,
):
    app.command(epilog=examples_of(command.__name__))(command)
app.add_typer(ensemble, name="ensemble")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"ivme {__version__}")
        raise typer.Exit


@app.callback(
    epilog="Start with `ivme demo`. Every command takes --help, and ends it with examples."
)
def ivme(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Find the fastest way to run a text model on this machine, and prove it."""


def main() -> None:
    """Run the command line; errors of ours become one line and an exit status."""
    try:
        app(prog_name="ivme")
    except IvmeError as error:
        print(f"ivme: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except (SystemExit, KeyboardInterrupt) as end:
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        print("ivme: interrupted", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"ivme: {where}{error.strerror}; {_remedy(error.filename)}", file=sys.stderr)
        sys.exit(1)


def _remedy(refused: str | None) -> str:
    """Return what to do about a file that was refused; the cache is not one that users name."""
    from ivme.hardware.cache import cache_folder

    if refused is not None:
        path, cache = Path(refused), cache_folder()
        if path.is_relative_to(cache) or cache.is_relative_to(path):
            return "set IVME_CACHE_DIR to a folder that you may write"
    return "make room, or name another place"
