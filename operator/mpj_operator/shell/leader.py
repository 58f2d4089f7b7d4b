"""Work only while a Lease is held."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

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


class LostLeaseError(Exception):
    """Somebody else may be working by now: stop at once."""


@dataclass(frozen=True)
class Lease:
    """A Lease to compete for."""

    name: str
    namespace: str
    identity: str


async def lead(api: Api, lease: Lease, work: Callable[[], Awaitable[None]]) -> None:
    """Wait for the Lease, work while it is held, and give it back.

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

    async def lost() -> None:
        log.error("the lease %s could not be renewed", lease.name)

    election = LeaderElection(Config(lock, DURATION, RENEW, RETRY, leading, lost))
    contest = asyncio.create_task(election.run(), name="leader-election")
    try:
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({contest, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not begun:
            await contest
            raise LostLeaseError(lease.name)
        await asyncio.wait({contest, begun[0]}, return_when=asyncio.FIRST_COMPLETED)
        if not begun[0].done():
            raise LostLeaseError(lease.name)
        await begun[0]
        await _give_back(api, lease)
    finally:
        for task in (contest, *begun):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


class _Lock(LeaseLock):  # type: ignore[misc] # the client is not typed
    """The client's lock with a ``create`` that works.

    That of kubernetes 37.0 passes ``pretty=True`` to a call that takes a string, and raises.
    """

    async def create(
        self, name: str, namespace: str, election_record: LeaderElectionRecord
    ) -> bool:
        """Create the Lease; tell whether it was us who did."""
        lease = client.V1Lease(
            metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record)
        )
        try:
            await self.api_instance.create_namespaced_lease(namespace, lease)
        except ApiException as error:
            log.info("the lease %s was not created: %s", name, error.reason)
            return False
        return True


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def _give_back(api: Api, lease: Lease) -> None:
    """Let the next one begin without waiting for the Lease to run out."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{lease.namespace}/leases/{lease.name}"
    body = {"spec": {"holderIdentity": ""}}
    with contextlib.suppress(ApiError):
        await api.request("PATCH", path, body, content_type="application/merge-patch+json")
