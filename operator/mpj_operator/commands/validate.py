"""``mpj validate``: say what is wrong with job files, or that nothing is."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mpj_operator.api.load import validate_all

VALID, INVALID = 0, 2


def validate(paths: Sequence[Path], *, local: bool, console: Console) -> int:
    """Check files; print one line for each problem and return 0, or 2 when there is any."""
    worst = VALID
    for path in paths:
        try:
            checked = validate_all(path.read_text(encoding="utf-8"), local=local)
        except (OSError, UnicodeDecodeError) as error:
            words = getattr(error, "strerror", None) or "is not UTF-8 text"
            _print(console, f"{path}: {words}")
            worst = INVALID
            continue
        for job, problems in checked:
            for problem in problems:
                _print(console, f"{path}: {problem}")
                worst = INVALID
            if job is not None:
                _print(console, f"{path}: {job.metadata.name} is valid")
    return worst


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
