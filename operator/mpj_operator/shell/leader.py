"""Work only while a Lease is held."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from mpj_operator.shell.kube.api import Api, ApiError

log = logging.getLogger(__name__)
DURATION: Final = 15
RENEW: Final = 10
RETRY: Final = 2
ANSWER: Final = 5.0
"""Seconds for one request: the client's own 300 would outlive the Lease."""
LAST: Final = 13.0
"""Seconds after the last renewal until the Lease counts as lost: less than DURATION."""
_NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError)


class LostLeaseError(Exception):
    """Somebody else may be working by now: stop at once."""


@dataclass(frozen=True)
class Lease:
    """A Lease to compete for."""

    name: str
    namespace: str
    identity: str


async def lead(
    api: Api,
    lease: Lease,
    work: Callable[[], Awaitable[None]],
    *,
    lost: Callable[[], None] = lambda: None,
) -> None:
    """Wait for the Lease, work while it is held, and give it back.

    Args:
        api: the API server.
        lease: what to hold.
        work: cancelled when the Lease is lost.
        lost: called the moment it is, before anything is awaited: a process can end itself here.

    Raises:
        LostLeaseError: it could not be renewed in time.
    """
    lock = _Lock(lease.name, lease.namespace, lease.identity, api.client)
    started = asyncio.Event()
    begun: list[asyncio.Task[None]] = []

    async def leading() -> None:
        begun.append(asyncio.ensure_future(_awaited(work)))
        started.set()
        await asyncio.Event().wait()

    async def stopped() -> None:
        log.error("the lease %s could not be renewed", lease.name)

    election = LeaderElection(Config(lock, DURATION, RENEW, RETRY, leading, stopped))
    contest = asyncio.create_task(election.run(), name="leader-election")
    outlived: asyncio.Task[None] | None = None
    try:
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({contest, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not begun:
            await contest
            raise LostLeaseError(lease.name)
        outlived = asyncio.create_task(lock.outlived())
        await asyncio.wait({contest, outlived, begun[0]}, return_when=asyncio.FIRST_COMPLETED)
        if not begun[0].done():
            lost()
            raise LostLeaseError(lease.name)
        await _end(contest)  # else it takes again what is given back
        await _give_back(api, lease)
        await begun[0]
    finally:
        for task in (contest, outlived, *begun):
            await _end(task)


class _Lock(LeaseLock):  # type: ignore[misc] # the client is not typed
    """The client's lock, whose requests end soon and never raise.

    That of kubernetes 37.0 waits 300 s for an answer, raises where the server cannot be reached,
    which ends the election, and passes ``pretty=True`` to a call that takes a string. Not wait_for:
    that of Python 3.11 loses a cancellation that comes with the answer, and the election goes on.
    """

    renewed: float = 0.0
    """When the last write that succeeded was begun, by the monotonic clock."""

    async def outlived(self) -> None:
        """Return when the Lease has not been renewed for too long."""
        while True:
            left = self.renewed + LAST - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def get(self, name: str, namespace: str) -> tuple[bool, object]:
        """Return whether the Lease is there, and its record or what went wrong."""
        try:
            async with asyncio.timeout(ANSWER):
                found: tuple[bool, object] = await super().get(name, namespace)
        except _NO_ANSWER as error:
            return False, ApiException(status=0, reason=f"{type(error).__name__} {error}".strip())
        return found

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """Renew or take the Lease; tell whether that succeeded."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER):
                done: bool = await super().update(name, namespace, updated_record)
        except _NO_ANSWER as error:
            log.warning("the lease %s was not updated: %s", name, type(error).__name__)
            return False
        if done:
            self.renewed = began
        return done

    async def create(
        self, name: str, namespace: str, election_record: LeaderElectionRecord
    ) -> bool:
        """Create the Lease; tell whether it was us who did."""
        began = time.monotonic()
        lease = client.V1Lease(
            metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record)
        )
        try:
            async with asyncio.timeout(ANSWER):
                await self.api_instance.create_namespaced_lease(namespace, lease)
        except (ApiException, *_NO_ANSWER) as error:
            log.info("the lease %s was not created: %s", name, error)
            return False
        self.renewed = began
        return True


async def _end(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it is over, however it ends and what it waits for swallows."""
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def _give_back(api: Api, lease: Lease) -> None:
    """Let the next one begin without waiting for the Lease to run out."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{lease.namespace}/leases/{lease.name}"
    body = {"spec": {"holderIdentity": ""}}
    with contextlib.suppress(ApiError):
        await api.request("PATCH", path, body, content_type="application/merge-patch+json")
