"""The keyed queue: one pass a key at a time, nothing lost, failures come back later."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from mpj_operator.shell import queue as q
from mpj_operator.shell.queue import KeyedQueue, RetryLaterError, backoff


@asynccontextmanager
async def running(queue):
    task = asyncio.create_task(queue.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the work is not asked to tell
            await asyncio.sleep(0.005)


class Work:
    """Notes what is worked on; blocks or fails on demand."""

    def __init__(self):
        self.done, self.now, self.most, self.overlaps = [], [], 0, 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.errors = {}
        self.again = {}

    async def __call__(self, key):
        self.overlaps += key in self.now
        self.now.append(key)
        self.most = max(self.most, len(self.now))
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            if self.errors.get(key):
                raise self.errors[key].pop(0)
            self.done.append(key)
            return self.again.pop(key, None)
        finally:
            self.now.remove(key)


async def test_a_key_put_in_many_times_while_it_waits_is_worked_on_once():
    work = Work()
    queue = KeyedQueue(work, workers=2)
    for _ in range(10):
        queue.put("a")
    assert queue.depth == 1
    async with running(queue):
        await until(lambda: work.done)
        await asyncio.sleep(0.02)
    assert work.done == ["a"]


async def test_a_key_rests_between_two_works_and_other_keys_do_not_wait_for_it():
    work, times = Work(), []

    async def timed(key):
        times.append((key, asyncio.get_running_loop().time()))
        return await work(key)

    queue = KeyedQueue(timed, workers=1, rest=0.3)
    async with running(queue):
        queue.put("a")
        await until(lambda: work.done)
        for _ in range(5):
            queue.put("a")
            queue.put("b")
            await asyncio.sleep(0.01)
        assert queue.depth == 0  # both rest: nobody keeps them waiting
        await until(lambda: len(work.done) == 4)
        await asyncio.sleep(0.35)
    assert sorted(work.done) == ["a", "a", "b", "b"]
    began = {key: [at for name, at in times if name == key] for key in "ab"}
    assert all(second - first >= 0.3 for first, second in began.values())
    assert began["b"][0] - began["a"][0] < 0.3


async def test_a_key_put_in_while_it_is_worked_on_is_worked_on_once_more_and_never_twice_at_once():
    work = Work()
    work.gate.clear()
    queue = KeyedQueue(work, workers=4)
    async with running(queue):
        queue.put("a")
        await until(lambda: work.now)
        for _ in range(5):
            queue.put("a")
        assert queue.depth == 1
        work.gate.set()
        await until(lambda: len(work.done) == 2)
        await asyncio.sleep(0.02)
    assert (work.done, work.overlaps) == (["a", "a"], 0)


async def test_no_more_keys_at_once_than_workers():
    work = Work()
    work.gate.clear()
    queue = KeyedQueue(work, workers=3)
    async with running(queue):
        for key in range(20):
            queue.put(key)
        await until(lambda: len(work.now) == 3)
        await asyncio.sleep(0.02)
        assert len(work.now) == 3
        work.gate.set()
        await until(lambda: len(work.done) == 20)
    assert work.most == 3


async def test_a_failed_key_comes_back_and_others_go_on(monkeypatch):
    monkeypatch.setattr(q, "FIRST_RETRY", 0.01)
    work, failures = Work(), []
    work.errors["bad"] = [ValueError("one"), ValueError("two")]
    queue = KeyedQueue(
        work, workers=1, failed=lambda key, error: failures.append((key, str(error)))
    )
    async with running(queue):
        queue.put("bad")
        queue.put("good")
        await until(lambda: set(work.done) == {"good", "bad"})
    assert work.done[0] == "good"
    assert failures == [("bad", "one"), ("bad", "two")]


async def test_a_wish_for_a_later_retry_is_kept():
    work = Work()
    work.errors["a"] = [RetryLaterError("soon", 0.0)]
    queue = KeyedQueue(work)
    async with running(queue):
        queue.put("a")
        await until(lambda: work.done == ["a"], 1.0)


async def test_the_work_says_when_to_look_again():
    work = Work()
    work.again["a"] = 0.01
    queue = KeyedQueue(work)
    async with running(queue):
        queue.put("a")
        await until(lambda: work.done == ["a", "a"])
        await asyncio.sleep(0.05)
    assert work.done == ["a", "a"]


@pytest.mark.parametrize("waits", [(0.01, 5.0), (5.0, 0.01)])
async def test_of_two_wishes_the_earlier_counts(waits):
    work = Work()
    queue = KeyedQueue(work)
    async with running(queue):
        for seconds in waits:
            queue.put_later("a", seconds)
        await until(lambda: work.done == ["a"], 1.0)


async def test_cancelling_ends_a_pass_that_has_begun():
    work = Work()
    work.gate.clear()
    queue = KeyedQueue(work, workers=1)
    async with running(queue) as task:
        queue.put("a")
        await until(lambda: work.now)
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        work.gate.set()
    assert work.done == ["a"]


def test_delays_double_up_to_a_minute_with_jitter_of_a_half():
    full = [backoff(n, lambda: 1.0) for n in range(1, 14)]
    assert full[:4] == [0.2, 0.4, 0.8, 1.6]
    assert full[-1] == 60.0
    assert backoff(4, lambda: 0.0) == 0.8
    assert backoff(10_000, lambda: 1.0) == 60.0
