"""The operator as one process: watch, queue, reconcile, answer probes."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, cast

import kopf
from kubernetes.aio import client, config

from mpj_operator.api.job import PLURAL
from mpj_operator.api.status import ENDED, JobStatus
from mpj_operator.core.observed import Settings
from mpj_operator.handlers import kopf_settings, registry
from mpj_operator.settings import OperatorSettings
from mpj_operator.shell.cluster import Key
from mpj_operator.shell.health import serving
from mpj_operator.shell.inbox import Doorstep, Inbox
from mpj_operator.shell.kube.api import JOBS, Api, ApiError, Json, job_path
from mpj_operator.shell.kube.cluster import KubernetesCluster
from mpj_operator.shell.kube.events import Events
from mpj_operator.shell.kube.login import by_proxy
from mpj_operator.shell.leader import Lease, lead
from mpj_operator.shell.metrics import Metrics
from mpj_operator.shell.queue import LAST_RETRY, KeyedQueue, RetryLaterError
from mpj_operator.shell.reconcile import reconcile
from mpj_operator.shell.resync import resync

log = logging.getLogger(__name__)
LAST_EVENTS: Final = 5.0
"""Seconds to post what is still to be told at the end."""
CRD_RETRY: Final = 5.0
REST: Final = 0.5
"""Seconds between two passes over a job: a pod that starts or ends tells of it five times."""


async def serve(
    settings: OperatorSettings,
    runner_version: str,
    stop: asyncio.Event,
    *,
    listening: Callable[[int], None] = lambda _port: None,
    lost: Callable[[], None] = lambda: None,
) -> None:
    """Run until ``stop`` is set.

    Args:
        settings: from the environment.
        runner_version: version of the steps in ``settings.image``.
        stop: set on SIGTERM.
        listening: told of the port that probes are answered on.
        lost: called at once when the Lease is lost: nothing may be done any more.

    Raises:
        LostLeaseError: another operator may be working: this one has to end.
    """
    metrics = Metrics()
    configuration = await _configuration()
    async with Api(configuration, connections=settings.connections, observe=metrics.request) as api:
        operator = Operator(settings, runner_version, api, metrics)
        async with serving(
            settings.port,
            metrics,
            watch_age=lambda: operator.inbox.watch_age,
            ready=lambda: operator.ready,
        ) as port:
            listening(port)
            await operator.until(stop, lost)


class Operator:
    """The parts of a running operator."""

    def __init__(
        self, settings: OperatorSettings, runner_version: str, api: Api, metrics: Metrics
    ) -> None:
        """Put the parts together; nothing runs yet."""
        self._settings = settings
        self._api = api
        self._metrics = metrics
        self._events = Events(api, settings.pod_name)
        self._cluster = KubernetesCluster(
            api,
            Settings(settings.image, runner_version, fixed_ids=settings.fixed_ids),
            self._events,
            wrote=self._wrote,
            is_newest=lambda uid, version: self.inbox.is_newest(uid, version),
        )
        self._queue: KeyedQueue[Key] = KeyedQueue(
            self._reconcile, workers=settings.workers, rest=REST, failed=self._failed
        )
        self.inbox = Inbox(self._queue, time.monotonic)
        self.ready = False
        self._working = False
        metrics.watch(depth=lambda: self._queue.depth, age=lambda: self.inbox.watch_age)

    async def until(self, stop: asyncio.Event, lost: Callable[[], None]) -> None:
        """Work, as leader if there is an election, until ``stop`` is set; see ``serve``."""
        if not self._settings.leader_election:
            await self._work(stop)
            return
        self.ready = True  # a standby is ready to take over
        lease = Lease(
            self._settings.lease_name, self._settings.pod_namespace, self._settings.pod_name
        )
        contest = asyncio.create_task(lead(self._api, lease, lambda: self._work(stop), lost=lost))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({contest, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set() and not self._working:
            contest.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await contest
        stopping.cancel()

    async def _work(self, stop: asyncio.Event) -> None:
        self._working = True
        self._metrics.leading(leads=True)
        try:
            if not await self._crd_is_there(stop):
                return
            async with beside(self._queue.run()), beside(self._events.run()):
                async with beside(
                    resync(self._api, self._paths(), self._settings.resync_seconds, self._see)
                ):
                    self.ready = True
                    await self._watch(stop)
                self.ready = False
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._events.drain(), LAST_EVENTS)
        finally:
            self._metrics.leading(leads=False)

    async def _watch(self, stop: asyncio.Event) -> None:
        """Let kopf watch in a thread of its own: at its end it cancels all tasks of its loop."""
        halt, loop = threading.Event(), asyncio.get_running_loop()
        inbox = Doorstep(self.inbox, loop.call_soon_threadsafe)
        watching = asyncio.ensure_future(
            asyncio.to_thread(
                kopf.run,
                registry=registry(inbox),
                settings=kopf_settings(),
                clusterwide=not self._settings.namespaces,
                namespaces=self._settings.namespaces,
                standalone=True,
                # Else kopf asks the system for this user's name, which a uid of an image has not.
                identity=cast("Any", self._settings.pod_name),  # a str by another name
                stop_flag=halt,
            )
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            halt.set()
            stopping.cancel()
            await watching
        if not stop.is_set():
            raise RuntimeError("kopf stopped watching by itself")

    async def _crd_is_there(self, stop: asyncio.Event) -> bool:
        """Wait for the CRD, so that an operator that is installed first does not crash."""
        while not stop.is_set():
            try:
                found = await self._api.get(JOBS) or {}
                if any(r["name"] == PLURAL for r in found.get("resources", ())):
                    return True
                log.warning("no CRD of MixedPrecisionJob yet: kubectl apply --server-side -f crds/")
            except ApiError as error:
                log.warning("the API server does not answer: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), CRD_RETRY)
        return False

    def _paths(self) -> tuple[str, ...]:
        """Return the collections of jobs that are watched."""
        watched = tuple(job_path(namespace) for namespace in self._settings.namespaces)
        return watched or (f"{JOBS}/{PLURAL}",)

    def _see(self, listed: Sequence[Json]) -> None:
        """Take in a LIST of all jobs: put those that are not done with on the queue."""
        self.inbox.audit(job["metadata"] for job in listed)
        self._metrics.states(job.get("status", {}).get("state", "Pending") for job in listed)
        for job in filter(_is_due, listed):
            self._queue.put(Key(job["metadata"]["namespace"], job["metadata"]["name"]))

    async def _reconcile(self, key: Key) -> float | None:
        started = time.perf_counter()
        try:
            decided = await reconcile(key, self._cluster)
        except ApiError as error:
            if not error.retry_after:
                raise
            wait = min(error.retry_after, LAST_RETRY)
            raise RetryLaterError(str(error), wait) from error
        self._metrics.reconciled(time.perf_counter() - started)
        return None if decided is None else decided.look_again

    def _wrote(self, key: Key, before: JobStatus, after: JobStatus, version: str) -> None:
        self.inbox.wrote(key, version)
        self._metrics.wrote(before, after)

    def _failed(self, key: Key, error: Exception) -> None:
        if isinstance(error, RetryLaterError):
            log.info("%s/%s: %s", key.namespace, key.name, error)
            return
        self._metrics.failed(error)
        log.error(
            "%s/%s: this pass failed and is tried again: %s",
            key.namespace,
            key.name,
            error,
            exc_info=None if isinstance(error, ApiError) else error,
        )


def _is_due(job: Json) -> bool:
    """Tell whether a job is unfinished, or its spec has changed since its status was written."""
    status = job.get("status", {})
    seen = status.get("observedGeneration") == job["metadata"].get("generation")
    return status.get("state") not in ENDED or not seen


@contextlib.asynccontextmanager
async def beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do work while a block runs; if it fails, the block is cancelled and fails with its error."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _configuration() -> client.Configuration:
    """Return how to reach the API server: from inside a pod, else from the kubeconfig."""
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)
    configuration.client_session_kwargs = {"trust_env": by_proxy()}
    return configuration
