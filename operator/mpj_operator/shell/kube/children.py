"""The children of a job and their pods, as the API has them: by name where the names are known.

A LIST by label has the API server look through the whole namespace, which with 2,000 jobs is most
of its work; what is asked for by name costs the same in any.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.status import ENDED
from mpj_operator.core import names
from mpj_operator.core.records import is_over
from mpj_operator.shell.cluster import Key
from mpj_operator.shell.kube.api import Api, child_path, pod_path
from mpj_operator.shell.kube.seen import JOB_NAME
from mpj_operator.shell.kube.settled import Settled

FEW: Final = 4
"""Children that are still asked for one by one."""
Json = dict[str, Any]


class Children:
    """Reads children live.

    A status that this operator wrote after its last creation names every child that a pass needs:
    while the job is at that version, nothing else has been made.
    """

    def __init__(self, api: Api, pods_of: Callable[[str, str], Sequence[str]]) -> None:
        """Know of no job yet.

        Args:
            api: the API server.
            pods_of: names of the pods that the watch has shown, of a namespace's batch/v1 Job.
        """
        self._api = api
        self._pods_of = pods_of
        self._complete: dict[Key, str] = {}
        """resourceVersion at which a job's status knows of all that was made."""

    def told(self, key: Key, version: str | None, *, ended: bool) -> None:
        """Take note that a status was written after all that was made, at this version."""
        self.untold(key)
        if version is not None and not ended:
            self._complete[key] = version

    def untold(self, key: Key) -> None:
        """Take note that something is made that no status knows of, or that the job is gone."""
        self._complete.pop(key, None)

    async def of(self, key: Key, job: MixedPrecisionJob) -> tuple[Sequence[Json], tuple[Json, ...]]:
        """Return a job's batch/v1 Jobs, those of units that are over left out, and their pods."""
        settled = Settled.of(job)
        asked = self._names(key, job)
        if asked is None:
            return await self.listed(key, settled)
        paths = (child_path(key.namespace, name) for name in asked)
        jobs = [child for path in paths if (child := await self._api.get(path)) is not None]
        pods = [await self._pods(key, child) for child in jobs]
        if any(known is None for known in pods):
            return jobs, await self._listed_pods(key, jobs, settled)
        return jobs, tuple(pod for known in pods for pod in known or ())

    async def listed(self, key: Key, settled: Settled) -> tuple[tuple[Json, ...], tuple[Json, ...]]:
        """Return what has the labels of a job's children, less those of settled units."""
        selector = f"{names.LABEL_JOB}={names.label(key.name)}"
        if settled.units:
            selector += f",{names.LABEL_UNIT} notin ({','.join(sorted(settled.units))})"
        jobs = await self._api.list(child_path(key.namespace), selector=selector)
        return jobs, await self._listed_pods(key, jobs, settled)

    def _names(self, key: Key, job: MixedPrecisionJob) -> list[str] | None:
        """Return the names of all children that matter; None: there may be others."""
        version, status = job.metadata.resource_version, job.status
        if version is None or self._complete.get(key) != version or status.state in ENDED:
            return None
        unfinished = [record for record in status.unit_statuses if not is_over(record)]
        # One that was refused may be there all the same, and one that is made again has a past.
        if any(r.attempt > 1 or (r.reason and r.job_name is None) for r in unfinished):
            return None
        active = [record.job_name for record in unfinished if record.job_name is not None]
        return active if len(active) <= FEW else None

    async def _pods(self, key: Key, job: Json) -> list[Json] | None:
        """Return a child's pods; None: the watch has not shown all that the child counts."""
        uid, found = job["metadata"]["uid"], []
        for name in self._pods_of(key.namespace, job["metadata"]["name"]):
            pod = await self._api.get(pod_path(key.namespace, name))
            owners = () if pod is None else pod["metadata"].get("ownerReferences", ())
            if pod is not None and any(owner["uid"] == uid for owner in owners):
                found.append(pod)
        return found if len(found) >= _counted(job.get("status", {})) else None

    async def _listed_pods(
        self, key: Key, jobs: Sequence[Json], settled: Settled
    ) -> tuple[Json, ...]:
        """Return the pods of children; a unit that is over needs none any more."""
        found = (job["metadata"]["name"] for job in jobs)
        asked = [name for name in found if name not in settled.children]
        if not asked:
            return ()
        selector = f"{JOB_NAME} in ({','.join(asked)})"
        return await self._api.list(pod_path(key.namespace), selector=selector)


def _counted(status: Json) -> int:
    """Return how many pods a batch/v1 Job knows of."""
    uncounted = status.get("uncountedTerminatedPods") or {}
    counts = (status.get(field) or 0 for field in ("active", "terminating", "succeeded", "failed"))
    return sum(counts) + sum(len(uncounted.get(end) or ()) for end in ("succeeded", "failed"))
