"""``mpj plan``: which units a job has and what of them is in the store; nothing is started."""

import asyncio
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.commands.files import absolute_uri, read_job, refuse_claims, with_identity
from mpj_operator.commands.override import with_store
from mpj_operator.commands.run import local_settings
from mpj_operator.core.actions import Create
from mpj_operator.core.containers import FETCH
from mpj_operator.core.observed import ChildSeen, ContainerSeen, Observed, Settings
from mpj_operator.core.plan import plan as decide
from mpj_operator.core.units import graph
from mpj_operator.shell.jobs import LocalJob
from mpj_operator.shell.processes import Processes
from mpj_runner.contract.errors import EXIT_MISS, EXIT_TRANSIENT, EXIT_USER, UserError
from mpj_runner.contract.messages import Termination

_AT_FAULT: Final = (EXIT_USER, EXIT_TRANSIENT)
EVERYTHING: Final = 64
"""Units looked up at once; looking needs no accelerator."""


def plan(path: Path, out: Path | None, store: str | None, console: Console) -> int:
    """Print a job's units with what the store holds of each; return 0.

    Raises:
        UserError: the file is not valid, or a source is not there.
    """
    job = read_job(path)
    folder = (out or Path("mpj-out") / job.metadata.name).absolute()
    root = absolute_uri(store, Path.cwd()) if store else (folder / "cache").as_uri()
    if store is not None:
        job = with_store(job, root)
    spec = job.spec.model_copy(update={"parallelism": EVERYTHING})
    job = job.model_copy(update={"spec": spec})
    refuse_claims(job, path)
    settings = replace(local_settings(root), max_active=None)
    with tempfile.TemporaryDirectory(prefix="mpj-plan-") as temporary:
        probed = asyncio.run(_look(with_identity(job, Path(temporary)), settings, Path(temporary)))
    console.print(_table(*probed))
    return 0


async def _look(
    job: MixedPrecisionJob, settings: Settings, folder: Path
) -> tuple[MixedPrecisionJob, dict[str, ChildSeen]]:
    """Follow the plan as far as the store's results lead; return the job and each unit's child."""
    processes = Processes()
    try:
        return await _follow(job, settings, folder, processes)
    finally:
        await processes.close()


async def _follow(
    job: MixedPrecisionJob, settings: Settings, folder: Path, processes: Processes
) -> tuple[MixedPrecisionJob, dict[str, ChildSeen]]:
    children: dict[str, ChildSeen] = {}
    while True:
        seen = Observed(job, tuple(children.values()), datetime.now(UTC), settings)
        decided = decide(seen)
        job = job.model_copy(update={"status": decided.status})
        created = [action for action in decided.actions if isinstance(action, Create)]
        if not created:
            return job, {child.unit: child for child in children.values()}
        for action in created:
            value = _as_probe(action.job, folder / "store")
            work, logs = folder / action.name, folder / "logs"
            child = LocalJob(value, work, logs, lambda: None, processes)
            await child.run()
            children[action.name] = _unless_missed(child.seen())


def _as_probe(job: Mapping[str, Any], store: Path) -> dict[str, Any]:
    """Return a Job whose containers only look."""
    copy: dict[str, Any] = json.loads(json.dumps(job))
    copy["spec"]["backoffLimit"] = 0
    template = copy["spec"]["template"]["spec"]
    for container in [*template.get("initContainers", ()), *template["containers"]]:
        container["env"].append({"name": "MPJ_PROBE", "value": str(store)})
    return copy


def _unless_missed(child: ChildSeen) -> ChildSeen:
    """Return a child as one that goes on when its result is not there; what waits for it, waits.

    Raises:
        UserError: its input is at fault, or its store is away.
    """
    if child.outcome != "Failed":
        return child
    for container in child.pods[-1].containers:
        words = Termination.decode(container.message)
        if container.exit_code in _AT_FAULT and words is not None and words.error is not None:
            raise UserError(words.error.message)
    return replace(child, outcome=None, finished=None, reason="")


def _table(job: MixedPrecisionJob, children: Mapping[str, ChildSeen]) -> Table:
    search = job.status.search
    trials = {trial.name: trial.kept for trial in search.trials} if search else {}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("unit", "class", "steps"):
        table.add_column(heading, no_wrap=heading != "steps")
    for unit in graph(job.spec, trials).values():
        child = children.get(unit.name)
        if child is None:
            missing = [need for need in unit.needs if job_state(job, need) != "Succeeded"]
            waits = missing[0] if len(missing) == 1 else f"{len(missing)} units"
            steps = Text(f"waits for {waits}" if missing else "waits", style="dim")
        else:
            containers = [c for c in child.pods[-1].containers if c.name != FETCH]
            steps = Text(", ").join(_step(container) for container in containers)
        table.add_row(unit.name, "gpu" if unit.gpu else "cpu", steps)
    if job.spec.search is not None and not (search and search.done):
        left = job.spec.search.max_trials - len(trials)
        table.add_row("search-…", "", Text(f"up to {left} more trials", style="dim"))
    return table


def job_state(job: MixedPrecisionJob, unit: str) -> str:
    """Return a unit's state in the job's status."""
    return next((r.state for r in job.status.unit_statuses if r.name == unit), "Pending")


def _step(container: ContainerSeen) -> Text:
    if container.exit_code in (0, EXIT_MISS) and container.name == "benchmark":
        return Text(f"{container.name} measured anew", style="cyan")
    if container.exit_code == 0:
        return Text(f"{container.name} cached", style="green")
    return Text(f"{container.name} runs", style="yellow")
