"""A Lease is held through an API server's bad minutes, and its loss ends the work at once."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from kubernetes.aio import client
from kubernetes.aio.leaderelection.electionconfig import Config

from mpj_operator.shell import leader
from mpj_operator.shell.kube.api import Api
from mpj_operator.shell.leader import Lease, LostLeaseError, lead


class Server:
    """Keeps one Lease; ``mood`` says how requests go: ok, cut, hang or 500."""

    def __init__(self):
        self.lease, self.mood, self.asked, self.released = None, "ok", 0, False

    async def answer(self, request):
        self.asked += 1
        if self.mood == "cut":
            request.transport.abort()
        if self.mood == "hang":
            await asyncio.sleep(60)
        if self.mood == "500":
            return web.Response(status=500, text="<html>no</html>")
        if request.method == "PATCH":
            self.released = True
            self.lease["spec"]["holderIdentity"] = ""
        elif request.method in ("POST", "PUT"):
            self.lease = await request.json()
        if self.lease is None:
            return web.json_response({"code": 404}, status=404)
        return web.json_response(self.lease)


def quick(*given):
    """Return a contest of short periods: the client itself takes none below a second."""
    config = Config(*given)
    config.lease_duration, config.renew_deadline, config.retry_period = 2, 1, 0.02
    return config


@pytest.fixture
async def world(monkeypatch):
    monkeypatch.setattr(leader, "ANSWER", 0.1)
    monkeypatch.setattr(leader, "LAST", 1.5)
    monkeypatch.setattr(leader, "Config", quick)
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with Api(configuration) as api:
        yield server, api
    await runner.cleanup()


@asynccontextmanager
async def led(api, work, **more):
    task = asyncio.create_task(lead(api, Lease("l", "ns", "me"), work, **more))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize("mood", ["cut", "hang", "500"])
async def test_a_server_that_is_away_for_a_moment_ends_neither_standby_nor_leader(world, mood):
    server, api = world
    begun = asyncio.Event()

    async def work():
        begun.set()
        await asyncio.Event().wait()

    server.mood = mood
    async with led(api, work) as task:
        await asyncio.sleep(0.3)
        assert not task.done(), "a standby waits for a server that does not answer"
        server.mood = "ok"
        await asyncio.wait_for(begun.wait(), 5)
        server.mood = mood
        await asyncio.sleep(0.3)
        server.mood, before = "ok", server.asked
        await asyncio.sleep(0.4)
        assert server.asked > before + 2
        assert not task.done(), "a leader outlives it"


@pytest.mark.parametrize("mood", ["cut", "hang", "500"])
async def test_a_lost_lease_is_told_while_the_work_still_stands(world, mood):
    server, api = world
    told = []

    async def work():
        server.mood = mood
        try:
            await asyncio.Event().wait()
        finally:
            told.append("cancelled")
            await asyncio.sleep(0.05)

    async with led(api, work, lost=lambda: told.append("lost")) as task:
        with pytest.raises(LostLeaseError):
            await asyncio.wait_for(asyncio.shield(task), 5)
    assert told == ["lost", "cancelled"]


async def test_a_lease_that_is_not_renewed_is_lost_before_it_runs_out(world, monkeypatch):
    """However long single requests take."""
    server, api = world
    monkeypatch.setattr(leader, "ANSWER", 30)
    loop, times = asyncio.get_running_loop(), []

    async def work():
        server.mood = "hang"
        times.append(loop.time())
        await asyncio.Event().wait()

    async with led(api, work) as task:
        with pytest.raises(LostLeaseError):
            await asyncio.wait_for(asyncio.shield(task), 5)
    assert loop.time() - times[0] < 2


@pytest.mark.parametrize("error", [None, ValueError("broken")])
async def test_the_lease_is_given_back_however_the_work_ends(world, error):
    server, api = world

    async def work():
        if error:
            raise error

    async with led(api, work) as task:
        await asyncio.wait({task})
        assert task.exception() is error
    assert server.released
    assert server.lease["spec"]["holderIdentity"] == ""


@pytest.mark.parametrize("call", ["get", "update", "create"])
async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(monkeypatch, call):
    """An election that went on would take again what is given back, and never end."""

    async def answer(*_):
        asking.cancel()
        return True, None

    for name in ("get", "update"):
        monkeypatch.setattr(leader.LeaseLock, name, answer)
    lock = leader._Lock("l", "ns", "me", client.ApiClient())
    monkeypatch.setattr(lock.api_instance, "create_namespaced_lease", answer)
    monkeypatch.setattr(lock, "update_lease", lambda _: None)
    record = () if call == "get" else (None,)
    asking = asyncio.create_task(getattr(lock, call)("l", "ns", *record))
    with pytest.raises(asyncio.CancelledError):
        await asking
    await lock.api_instance.api_client.close()
