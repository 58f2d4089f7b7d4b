"""Errands at a store, done by a process of the runner: the operator knows no store."""

import subprocess
import sys

from mpj_runner.contract.errands import Errand
from mpj_runner.contract.errors import EXIT_TRANSIENT, EXIT_USER, UserError


def do(errand: Errand) -> str:
    """Do an errand and return what came of it, as JSON.

    Raises:
        UserError: it could not be done; the message says why.
    """
    done = subprocess.run(
        [sys.executable, "-m", "mpj_runner.errand"],
        input=errand.model_dump_json(exclude_none=True),
        capture_output=True,
        text=True,
        check=False,
    )
    words = done.stderr.strip()
    if done.returncode in (EXIT_USER, EXIT_TRANSIENT):
        raise UserError(words)
    if done.returncode != 0:
        raise RuntimeError(f"the errand ended with exit code {done.returncode}:\n{words}")
    return done.stdout
