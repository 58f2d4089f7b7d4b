"""The parts of a running operator: none may fail in silence."""

import asyncio

import pytest

from mpj_operator.core.notes import Note
from mpj_operator.serve import Operator, _is_due, beside
from mpj_operator.settings import OperatorSettings
from mpj_operator.shell.cluster import Key
from mpj_operator.shell.kube.api import ApiError
from mpj_operator.shell.kube.events import Events
from mpj_operator.shell.metrics import Metrics
from mpj_operator.shell.queue import LAST_RETRY, RetryLaterError
from mpj_operator.shell.resync import resync


async def failing():
    await asyncio.sleep(0.01)
    raise ValueError("broken")


async def endless():
    await asyncio.Event().wait()


@pytest.mark.parametrize("inner", [failing, endless])
@pytest.mark.parametrize("outer", [failing, endless])
async def test_what_fails_beside_a_block_ends_it_with_its_error(outer, inner):
    async def operate():
        async with beside(outer()), beside(inner()):
            if failing in (outer, inner):
                await asyncio.Event().wait()

    if failing in (outer, inner):
        with pytest.raises(ValueError, match=r"^broken$"):
            await asyncio.wait_for(operate(), 5)
    else:
        await asyncio.wait_for(operate(), 5)


async def test_a_block_that_fails_tells_its_own_error():
    with pytest.raises(RuntimeError, match=r"^own$"):
        async with beside(endless()):
            raise RuntimeError("own")


async def test_a_cancelled_block_waits_for_what_runs_beside_it():
    ended = []

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            ended.append(1)

    async def operate():
        async with beside(slow()):
            await asyncio.Event().wait()

    task = asyncio.create_task(operate())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


@pytest.mark.parametrize(
    ("status", "due"),
    [
        ({}, True),
        ({"state": "Running", "observedGeneration": 2}, True),
        ({"state": "Complete", "observedGeneration": 2}, False),
        ({"state": "Failed", "observedGeneration": 2}, False),
        ({"state": "Complete", "observedGeneration": 1}, True),
        ({"state": "Failed", "observedGeneration": 1}, True),
    ],
)
def test_which_jobs_of_a_list_are_looked_at(status, due):
    assert _is_due({"metadata": {"generation": 2}, "status": status}) is due


@pytest.mark.parametrize(
    ("answer", "raised", "seconds"),
    [
        (ApiError(429, "TooManyRequests", "slowly", 7.0), RetryLaterError, 7.0),
        (ApiError(503, "", "away", 3600.0), RetryLaterError, LAST_RETRY),
        (ApiError(503, "", "away", 0.0), ApiError, None),
        (ApiError(500, "", "broken"), ApiError, None),
    ],
    ids=str,
)
async def test_a_server_that_says_when_to_come_again_is_heeded(answer, raised, seconds):
    class Busy:
        client = None

        async def get(self, *_, **__):
            raise answer

    settings = OperatorSettings(image="i")
    operator = Operator(settings, "1", Busy(), Metrics())
    with pytest.raises(raised) as caught:
        await operator._reconcile(Key("ns", "a"))
    assert getattr(caught.value, "seconds", None) == seconds


class Posted:
    """An API that posts, fails as told, and lists nothing."""

    def __init__(self, *errors):
        self.errors, self.bodies, self.lists = list(errors), [], 0

    async def request(self, _verb, _path, body):
        if self.errors:
            raise self.errors.pop()
        self.bodies.append(body)

    async def list(self, _path, *, page, keep):
        self.lists += 1
        metadata = {"name": "a", "uid": "u", "managedFields": [{"manager": "x" * 9000}]}
        return [keep({"metadata": metadata, "spec": {"a": 1}, "status": {"state": "Running"}})]


ABOUT = {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "1"}


async def posted(api, *messages):
    events = Events(api, "me")
    async with beside(events.run()):
        for message in messages:
            events.tell(ABOUT, Note("Normal", "Created", message, "Run"))
        await asyncio.wait_for(events.drain(), 5)
    return [body["note"] for body in api.bodies]


async def test_an_event_that_cannot_be_posted_is_dropped_and_the_next_one_is_posted():
    assert await posted(Posted(KeyError("any")), "one", "two") == ["two"]


@pytest.mark.parametrize(
    ("message", "note"),
    [
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, "x" * 1021 + "…"),
        ("ä" * 600, "ä" * 510 + "…"),
        ("x" + "ä" * 600, "x" + "ä" * 510 + "…"),
    ],
    ids=["just fits", "ascii", "two bytes each, cut within one", "two bytes each"],
)
async def test_notes_are_cut_to_as_many_bytes_as_the_api_takes(message, note):
    assert await posted(Posted(), message) == [note]


async def test_all_is_looked_at_soon_after_the_start(monkeypatch):
    monkeypatch.setattr("mpj_operator.shell.resync.FIRST", 0.01)
    api, seen = Posted(), asyncio.Queue()
    async with beside(resync(api, ["jobs"], 1000, seen.put_nowait)):
        listed = await asyncio.wait_for(seen.get(), 5)
    assert api.lists == 1
    # Thousands of jobs are held at once: of each the little that is looked at.
    assert listed == [{"metadata": {"name": "a", "uid": "u"}, "status": {"state": "Running"}}]
