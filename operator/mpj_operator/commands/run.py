"""``mpj run``: do a job's work on this computer."""

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from mpj_operator import __version__
from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.commands.errands import do
from mpj_operator.commands.files import absolute_uri, locked, read_job, refuse_claims, with_identity
from mpj_operator.commands.override import with_store
from mpj_operator.commands.results import results_view
from mpj_operator.commands.screen import Screen, clock
from mpj_operator.core import conditions as c
from mpj_operator.core.access import store_access
from mpj_operator.core.observed import Settings
from mpj_operator.core.world import store_of
from mpj_operator.shell.cluster import Key
from mpj_operator.shell.local import LocalCluster
from mpj_operator.shell.reconcile import reconcile
from mpj_runner.contract.errands import Errand, Fetch
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.result import Artifact

COMPLETE, FAILED, INTERRUPTED = 0, 1, 130


def run(path: Path, out: Path | None, store: str | None, console: Console) -> int:
    """Run a job's file; return 0 for Complete, 1 for Failed, 130 when interrupted.

    Raises:
        UserError: the file is not valid, or the folder is not to be had.
    """
    job = read_job(path)
    if job.spec.suspend:
        raise UserError(f"{path}: spec.suspend: is true, so nothing would run: set it to false")
    folder = (out or Path("mpj-out") / job.metadata.name).absolute()
    root = absolute_uri(store, Path.cwd()) if store else (folder / "cache").as_uri()
    if store is not None:
        job = with_store(job, root)
    refuse_claims(job, path)
    with locked(folder):
        job = with_identity(job, folder)
        cluster = LocalCluster(job, folder, local_settings(root))
        interrupted = asyncio.run(_until_over(cluster, console))
        if interrupted:
            words = f"interrupted: run it again to go on ({folder})"
            console.print(words, markup=False, soft_wrap=True)
            return INTERRUPTED
        _collect(cluster.job, folder, store_of(cluster.job, cluster.settings))
    return _tell(cluster.job, folder, console)


def local_settings(store: str) -> Settings:
    """Return what the operator would be configured with, for this computer."""
    return Settings(image="local", runner_version=__version__, default_storage=store, max_active=1)


async def _until_over(cluster: LocalCluster, console: Console) -> bool:
    """Reconcile until the job has ended; return True when a signal came first."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    metadata = cluster.job.metadata
    key = Key(metadata.namespace, metadata.name)
    try:
        with Screen(console) as screen:
            while not stop.is_set():
                cluster.changed.clear()
                decided = await reconcile(key, cluster)
                screen.show(cluster.job)
                if decided is None or _over(cluster.job):
                    return False
                await _wait(cluster.changed, stop, decided.look_again)
    finally:
        await cluster.close()
    return True


async def _wait(changed: asyncio.Event, stop: asyncio.Event, seconds: float | None) -> None:
    waits = [asyncio.create_task(event.wait()) for event in (changed, stop)]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


def _over(job: MixedPrecisionJob) -> bool:
    return any(c.holds(job.status.conditions, kind) for kind in ("Complete", "Failed"))


def _collect(job: MixedPrecisionJob, folder: Path, store: str) -> None:
    """Put the report and the winner's files where people look for them."""
    report, best = job.status.report, job.status.best
    files: dict[str, Artifact | None] = {}
    folders: dict[str, Artifact | None] = {}
    if report is not None:
        files |= {"report.json": report.json_file, "report.html": report.html}
    if best is not None and (made := best.artifacts) is not None:
        files |= {"model.onnx": made.onnx, "metadata.json": made.metadata}
        folders |= {"engine": made.engine}

    def wanted(artifacts: Mapping[str, Artifact | None]) -> dict[str, str]:
        return {str(folder / name): a.sha256 for name, a in artifacts.items() if a is not None}

    fetch = Fetch(blobs=wanted(files), folders=wanted(folders))
    if fetch.blobs or fetch.folders:
        do(Errand(store=store, access=store_access(job.spec), fetch=fetch))


def _tell(job: MixedPrecisionJob, folder: Path, console: Console) -> int:
    status = job.status
    results = [r for r in (status.reference, status.baseline, *status.candidates) if r is not None]
    if any(result.map is not None for result in results):
        best = status.best.name if status.best else None
        metric = job.spec.objective.metric
        console.print(results_view(results, best, metric, console.width))
        console.print()
    if (failed := c.find(status.conditions, "Failed")) is not None:
        console.print(f"Failed: {failed.reason}", style="bold red", markup=False)
        console.print(failed.message, markup=False, highlight=False, soft_wrap=True)
        console.print(f"logs: {folder / 'logs'}", markup=False, highlight=False, soft_wrap=True)
        return FAILED
    done = c.find(status.conditions, "Complete")
    if done is not None:
        console.print(done.message, style="bold green", markup=False, highlight=False)
    if status.start_time and status.completion_time:
        seconds = (status.completion_time - status.start_time).total_seconds()
        console.print(f"job time: {clock(seconds)}", markup=False, highlight=False)
    for name in ("report.html", "model.onnx", "engine", "status.yaml"):
        if (folder / name).exists():
            console.print(f"{folder / name}", markup=False, highlight=False, soft_wrap=True)
    return COMPLETE
