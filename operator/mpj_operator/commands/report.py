"""``mpj report``: tell what a finished run found."""

from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from mpj_operator.commands.results import results_view
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.report import Report


def report(folder: Path, console: Console) -> int:
    """Print the results in a run's folder; return 0.

    Raises:
        UserError: there is no report.json, or it is not one of ours.
    """
    path = folder / "report.json"
    try:
        found = Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}: name the --out folder of a finished mpj run"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise UserError(
            f"{path}: not a report of this version ({where}: {first['msg']}): run the job again"
        ) from error
    results = (found.reference, found.baseline, *found.candidates)
    best, metric = found.best.name, found.objective.metric
    console.print(results_view(results, best, metric, console.width))
    console.print()
    words = f"{found.best.name}: {found.best.reason}"
    console.print(words, style="bold green", markup=False, highlight=False)
    if (page := folder / "report.html").exists():
        console.print(str(page.absolute()), markup=False, highlight=False, soft_wrap=True)
    return 0
