"""Kubernetes behind the Cluster protocol."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from mpj_operator.api.job import KIND, MixedPrecisionJob
from mpj_operator.api.lenient import lenient_status
from mpj_operator.api.load import API_VERSION, parse
from mpj_operator.api.status import ENDED, JobStatus
from mpj_operator.core import names
from mpj_operator.core.actions import Action, Create, Delete, SetDeadline, SetTtl
from mpj_operator.core.conditions import Stamp
from mpj_operator.core.invalid import rejected, stopped
from mpj_operator.core.notes import notes
from mpj_operator.core.observed import Observed, Settings
from mpj_operator.core.refusals import Refusal
from mpj_operator.shell.cluster import Key, RefusedError
from mpj_operator.shell.kube.api import (
    Api,
    ApiError,
    child_path,
    job_path,
    pods_path,
)
from mpj_operator.shell.kube.events import Events
from mpj_operator.shell.kube.recall import Recall
from mpj_operator.shell.kube.seen import JOB_NAME, children_seen
from mpj_operator.shell.kube.settled import Settled
from mpj_operator.shell.kube.waiting import explained
from mpj_operator.shell.queue import RetryLaterError

log = logging.getLogger(__name__)
WAIT_FOR_DELETION: Final = 2.0
"""Seconds between looks at a foreign child of our name that is being deleted."""
NO_ANSWER: Final = 3.0
"""Seconds until a creation is tried again that the API server did not answer, or not sensibly."""
_UNDECLARED: Final = "field not declared in schema"
_OLD_CRD: Final = (
    "the CustomResourceDefinition is older than this operator: "
    "kubectl apply --server-side -f crds/ of this version"
)
Json = dict[str, Any]


class KubernetesCluster:
    """Reads live, so that no decision rests on a stale watch; writes so that repeats do no harm.

    What it has just written itself it need not read.
    """

    def __init__(
        self,
        api: Api,
        settings: Settings,
        events: Events,
        *,
        wrote: Callable[[Key, JobStatus, JobStatus, str], None] = lambda *_: None,
        is_newest: Callable[[str, str], bool] = lambda _uid, _version: False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Keep what it works with.

        Args:
            api: the API server.
            settings: what the operator's configuration adds to every job.
            events: where people are told of what happened.
            wrote: told of every written status: key, before, after, resourceVersion.
            is_newest: tells whether the watch showed a uid's resourceVersion last.
            now: the clock.
        """
        self._api = api
        self._settings = settings
        self._events = events
        self._wrote = wrote
        self._recall = Recall(is_newest)
        self._now = now

    async def observe(self, key: Key) -> Observed | None:
        """See ``Cluster.observe``; an invalid spec is answered here, with a status that says so."""
        # The job is read first: whatever its status knows of was created before the children are
        # listed, also when an operator that is on its way out wrote it.
        job = self._recall.take(key)
        if job is None:
            raw = await self._api.get(job_path(key.namespace, key.name))
            if raw is None or "deletionTimestamp" in raw["metadata"]:
                return None
            job, problems = parse(raw, stored=True)
            if job is None:
                await self._reject(key, raw, "\n".join(map(str, problems)))
                return None
        settled = Settled.of(job)
        jobs = await self._jobs(key, settled)
        pods = await self._pods(key, jobs, settled)
        children = children_seen(jobs, pods, job.metadata.uid or "")
        now = self._now().replace(microsecond=0)
        children = await explained(self._api, key.namespace, children, (*jobs, *pods), now)
        return Observed(job, children, now, self._settings)

    async def _jobs(self, key: Key, settled: Settled) -> tuple[Json, ...]:
        """Return the children, less those of units that are over: few of many."""
        selector = f"{names.LABEL_JOB}={names.label(key.name)}"
        if settled.units:
            selector += f",{names.LABEL_UNIT} notin ({','.join(sorted(settled.units))})"
        return await self._api.list(child_path(key.namespace), selector=selector)

    async def _pods(self, key: Key, jobs: Sequence[Json], settled: Settled) -> tuple[Json, ...]:
        """Return the pods of children; a unit that is over needs none any more."""
        listed = (job["metadata"]["name"] for job in jobs)
        asked = [name for name in listed if name not in settled.children]
        if not asked:
            return ()
        selector = f"{JOB_NAME} in ({','.join(asked)})"
        return await self._api.list(pods_path(key.namespace), selector=selector)

    async def perform(self, key: Key, action: Action) -> None:
        """See ``Cluster.perform``."""
        match action:
            case Create():
                await self._create(key, action)
            case Delete():
                await self._delete(key, action.name)
            case SetTtl():
                await self._set(key, action.name, "ttlSecondsAfterFinished", action.seconds)
            case SetDeadline():
                await self._set(key, action.name, "activeDeadlineSeconds", action.seconds)

    async def write_status(self, key: Key, before: MixedPrecisionJob, status: JobStatus) -> None:
        """See ``Cluster.write_status``: server-side apply, for the very object that was read."""
        metadata = before.metadata
        written = await self._apply(key, metadata.uid, metadata.resource_version, status)
        self._wrote(key, before.status, status, written["resourceVersion"])
        self._recall.wrote(key, before, status, written["resourceVersion"])
        for note in notes(before.status, status):
            self._events.tell(written, note)

    async def _apply(
        self, key: Key, uid: str | None, version: str | None, status: JobStatus
    ) -> Json:
        """Apply a status; return the metadata of what is written."""
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                # With these, a status reaches neither a deleted job's namesake nor a job whose
                # spec, or whose status by another operator, was not seen.
                "uid": uid,
                "resourceVersion": version,
            },
            "status": status.to_json(),
        }
        try:
            written = await self._api.request(
                "PATCH",
                job_path(key.namespace, key.name) + "/status",
                body,
                query={"force": "true"},
                content_type="application/apply-patch+yaml",
            )
        except ApiError as error:
            if error.status in (404, 409):
                raise RetryLaterError("the job was changed or deleted meanwhile") from error
            if _UNDECLARED in error.message:
                words = f"{_OLD_CRD}: {error.message}"
                raise ApiError(error.status, error.reason, words) from error
            raise
        metadata: Json = written["metadata"]
        return metadata

    async def _reject(self, key: Key, raw: Json, problems: str) -> None:
        """Say what is wrong with a spec; its units end, since nobody wants what they make."""
        metadata = raw["metadata"]
        jobs = await self._jobs(key, Settled())
        children = children_seen(jobs, await self._pods(key, jobs, Settled()), metadata["uid"])
        old = lenient_status(raw.get("status"))
        stamp = Stamp(self._now().replace(microsecond=0), metadata.get("generation"))
        over = old.state in ENDED and old.observed_generation == stamp.generation
        if over and all(child.outcome is not None for child in children if child.owned):
            return  # it was valid to the operator that saw it through: what that found stays true
        actions, status = stopped(rejected(old, problems, stamp), children, stamp.now)
        for action in actions:
            log.info("%s/%s: %s", key.namespace, key.name, action)
            await self._delete(key, action.name)
        if status == old:
            return
        version = metadata["resourceVersion"]
        written = await self._apply(key, metadata["uid"], version, status)
        self._wrote(key, old, status, written["resourceVersion"])
        for note in notes(old, status):
            self._events.tell(written, note)

    async def _create(self, key: Key, action: Create) -> None:
        if action.job["metadata"].get("labels", {}).get(names.LABEL_ATTEMPT, "1") != "1":
            await self._owner_is_there(key, action)
        path = child_path(key.namespace)
        try:
            await self._api.request("POST", path, action.job)
        except ApiError as error:
            if error.status == 409 and error.reason == "AlreadyExists":
                await self._adopt(key, action)
            elif error.status == 403 and "exceeded quota" in error.message:
                raise RefusedError(Refusal("QuotaExceeded", error.message)) from error
            elif error.status == 403 and "being terminated" in error.message:
                raise RetryLaterError("the namespace is being deleted", 60.0) from error
            elif error.status in (400, 403, 422):
                raise RefusedError(Refusal("Refused", error.message)) from error
            elif error.status in (0, 409, 429) or error.status >= 500:
                # Whether it was created or not: the next pass finds it, or creates it, by its name.
                wait = error.retry_after or NO_ANSWER
                raise RefusedError(Refusal("CreateFailed", str(error)), wait) from error
            else:
                raise

    async def _owner_is_there(self, key: Key, action: Create) -> None:
        """Make nothing again for a job that is gone: then the garbage collector took the child."""
        owner = action.job["metadata"]["ownerReferences"][0]["uid"]
        found = await self._api.get(job_path(key.namespace, key.name))
        metadata = {} if found is None else found["metadata"]
        if metadata.get("uid") != owner or "deletionTimestamp" in metadata:
            raise RetryLaterError("the job was deleted meanwhile", 0.2)
        if self._recall.rests_on(key) not in (None, metadata["resourceVersion"]):
            raise RetryLaterError("the job was changed meanwhile", 0.2)

    async def _adopt(self, key: Key, action: Create) -> None:
        """Take an existing child for ours if it is; wait for a foreign one that is going."""
        owner = action.job["metadata"]["ownerReferences"][0]["uid"]
        found = await self._api.get(child_path(key.namespace, action.name))
        if found is None:
            raise RetryLaterError(f"{action.name} went away just now", 0.0)
        metadata = found["metadata"]
        if any(x["uid"] == owner for x in metadata.get("ownerReferences", ())):
            return
        if "deletionTimestamp" in metadata:
            raise RetryLaterError(f"{action.name} of another owner goes away", WAIT_FOR_DELETION)
        words = f"a Job {action.name} that is not this job's is in the way: delete it"
        raise RefusedError(Refusal("NameTaken", words))

    async def _delete(self, key: Key, name: str) -> None:
        try:
            await self._api.request(
                "DELETE",
                child_path(key.namespace, name),
                {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"},
            )
        except ApiError as error:
            if error.status != 404:
                raise

    async def _set(self, key: Key, name: str, field: str, value: int | None) -> None:
        try:
            await self._api.request(
                "PATCH",
                child_path(key.namespace, name),
                {"spec": {field: value}},
                content_type="application/merge-patch+json",
            )
        except ApiError as error:
            if error.status != 404:
                raise
