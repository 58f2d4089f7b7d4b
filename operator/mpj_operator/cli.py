"""``mpj``: the command line. Exit codes: 0 done, 1 the job failed, 2 invalid input."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from mpj_operator import __version__
from mpj_operator.commands.results import console
from mpj_runner.contract.errors import UserError

INVALID = 2
_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mpj")
def main() -> None:
    """Find the fastest mixed-precision engine of a detector that keeps its accuracy."""


@main.command()
@click.argument("job", type=_FILE)
@click.option("--out", type=_FOLDER, help="Folder of the results; default: mpj-out/<job name>.")
@click.option("--store", help="Folder or URI of the cache; default: spec.storage, else OUT/cache.")
def run(job: Path, out: Path | None, store: str | None) -> None:
    """Do the work of the MixedPrecisionJob in the file JOB on this computer."""
    from mpj_operator.commands.run import run as command

    _end(lambda: command(job, out, store, console()))


@main.command()
@click.argument("job", type=_FILE)
@click.option("--out", type=_FOLDER, help="Folder of the results; default: mpj-out/<job name>.")
@click.option("--store", help="Folder or URI of the cache; default: spec.storage, else OUT/cache.")
def plan(job: Path, out: Path | None, store: str | None) -> None:
    """Show the units of the file JOB and what of them the cache holds; start nothing."""
    from mpj_operator.commands.plan import plan as command

    _end(lambda: command(job, out, store, console()))


@main.command()
@click.argument("files", type=_FILE, nargs=-1, required=True)
@click.option(
    "--cluster", is_flag=True, help="Refuse what only `mpj run` takes: local paths, no storage."
)
def validate(files: tuple[Path, ...], cluster: bool) -> None:
    """Check job FILES; one line for each problem, with its field and the fix."""
    from mpj_operator.commands.validate import validate as command

    _end(lambda: command(files, local=not cluster, console=console()))


@main.command()
@click.argument("folder", type=_FOLDER)
def report(folder: Path) -> None:
    """Tell what a finished run found; FOLDER is its --out."""
    from mpj_operator.commands.report import report as command

    _end(lambda: command(folder, console()))


# Its options are the runner's: in a cluster, a container of the job's image is told the same.
@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def gc(words: tuple[str, ...]) -> None:
    """Remove old artifacts from a store; `mpj gc --help` tells more."""
    from mpj_operator.commands.gc import gc as command

    _end(lambda: command(words))


def _end(command: Callable[[], int]) -> None:
    """Exit with a command's code; bad input is told without a traceback."""
    try:
        code = command()
    except UserError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        code = INVALID
    sys.exit(code)
