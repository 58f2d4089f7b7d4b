"""Errands at a store, done by a process of the runner: the operator knows no store."""

import subprocess
import sys
from collections.abc import Sequence

from mpj_runner.contract.errands import Errand
from mpj_runner.contract.errors import EXIT_TRANSIENT, EXIT_USER, UserError


def do(errand: Errand) -> None:
    """Do an errand.

    Raises:
        UserError: it could not be done; the message says why.
    """
    said("mpj_runner.errand", (), errand.model_dump_json(exclude_none=True))


def said(module: str, words: Sequence[str], given: str = "") -> str:
    """Return what a module of the runner says.

    Args:
        module: what to run.
        words: of its command line.
        given: to its standard input.

    Raises:
        UserError: it could not do what was asked; the message says why.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stderr.strip()
    if done.returncode in (EXIT_USER, EXIT_TRANSIENT):
        raise UserError(told)
    if done.returncode != 0:
        raise RuntimeError(f"{module} ended with exit code {done.returncode}:\n{told}")
    return done.stdout
