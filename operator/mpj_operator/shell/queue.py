"""A queue of keys: one worker a key at a time, however often it is put in.

A key that is put in while it is worked on is worked on once more afterwards. After each work a key
rests for a moment, so that a burst of events costs one more pass and not one each. A key whose work
fails comes back after a growing, jittered delay.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

log = logging.getLogger(__name__)
FIRST_RETRY: Final = 0.2
LAST_RETRY: Final = 60.0
Key = TypeVar("Key", bound=Hashable)


def backoff(failures: int, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after that many failures in a row: half to all of the bound."""
    bound = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 20))
    return bound * (0.5 + chance() / 2)


class RetryLaterError(Exception):
    """Work that is to be tried again, without alarm."""

    def __init__(self, why: str, seconds: float | None = None) -> None:
        super().__init__(why)
        self.seconds = seconds
        """When; None: after the usual delay."""


class KeyedQueue(Generic[Key]):
    """Feeds keys to workers."""

    def __init__(
        self,
        work: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int = 8,
        rest: float = 0.0,
        failed: Callable[[Key, Exception], None] = lambda _key, _error: None,
    ) -> None:
        """Keep what to do.

        Args:
            work: handles a key; returns the seconds after which to look again, or None.
            workers: keys handled at once.
            rest: least seconds between the end of a key's work and its next.
            failed: told of every failure of ``work``.
        """
        self._work = work
        self._workers = workers
        self._rest = rest
        self._failed = failed
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        """Keys that lie in ``_ready``."""
        self._busy: set[Key] = set()
        """Keys that are worked on, or rest."""
        self._again: set[Key] = set()
        """Busy keys that were put in meanwhile."""
        self._resting: dict[Key, asyncio.TimerHandle] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._waiting) + len(self._again - self._resting.keys())

    def put(self, key: Key) -> None:
        """Have a key worked on soon."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def put_later(self, key: Key, seconds: float) -> None:
        """Have a key worked on after a while; the earlier of two such wishes counts."""
        loop = asyncio.get_running_loop()
        old = self._timers.get(key)
        if old is not None and old.when() <= loop.time() + seconds:
            return
        if old is not None:
            old.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.put(key)

    async def run(self) -> None:
        """Work until cancelled; what a worker has begun it ends first."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._worker())
        finally:
            for timer in (*self._timers.values(), *self._resting.values()):
                timer.cancel()
            self._timers.clear()
            self._resting.clear()
            self._busy.clear()

    async def _worker(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._busy.add(key)
            try:
                # A cancelled operator ends the pass that it is in: the status then says what was
                # done, though a crash between the two does no harm.
                task = asyncio.ensure_future(self._pass(key))
                try:
                    await asyncio.shield(task)
                except asyncio.CancelledError:
                    await task
                    raise
            finally:
                loop = asyncio.get_running_loop()
                self._resting[key] = loop.call_later(self._rest, self._rested, key)

    def _rested(self, key: Key) -> None:
        self._resting.pop(key, None)
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.put(key)

    async def _pass(self, key: Key) -> None:
        try:
            seconds = await self._work(key)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            wait = error.seconds if isinstance(error, RetryLaterError) else None
            self._failed(key, error)
            self.put_later(key, backoff(failures) if wait is None else wait)
        else:
            self._failures.pop(key, None)
            if seconds is not None:
                self.put_later(key, seconds)
