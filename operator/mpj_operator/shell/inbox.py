"""From what was watched to the keys of the queue; and how old the watch is."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from mpj_operator.api.job import KIND
from mpj_operator.core import names
from mpj_operator.shell.cluster import Key
from mpj_operator.shell.queue import KeyedQueue

Metadata = Mapping[str, Any]


class Inbox:
    """Puts keys on the queue, and remembers which versions of the jobs the watch has shown."""

    def __init__(self, queue: KeyedQueue[Key], clock: Callable[[], float]) -> None:
        """Keep the queue and a monotonic clock in seconds."""
        self._queue = queue
        self._clock = clock
        self._shown: dict[Key, str] = {}
        """resourceVersion that the watch showed last, by job."""
        self._own: dict[Key, str] = {}
        """resourceVersion of the status that this operator wrote last, by job."""
        self._missed: dict[Key, tuple[str, float]] = {}
        """Version that a LIST has and the watch has not shown, and since when."""

    def job(self, metadata: Metadata, *, deleted: bool = False) -> None:
        """Take in an event of a job; what we wrote ourselves is no news."""
        key = Key(metadata["namespace"], metadata["name"])
        version = metadata["resourceVersion"]
        if deleted:
            for memory in (self._shown, self._own, self._missed):
                memory.pop(key, None)
        else:
            self._shown[key] = version
            self._missed.pop(key, None)
        if deleted or self._own.get(key) != version:
            self._queue.put(key)

    def child(self, metadata: Metadata) -> None:
        """Take in an event of a child or of a child's pod."""
        for owner in metadata.get("ownerReferences", ()):
            if owner.get("kind") == KIND:
                self._queue.put(Key(metadata["namespace"], owner["name"]))
                return
        if name := metadata.get("labels", {}).get(names.LABEL_JOB):
            self._queue.put(Key(metadata["namespace"], name))

    def wrote(self, key: Key, version: str) -> None:
        """Remember a version of our own making."""
        self._own[key] = version

    def audit(self, listed: Iterable[Metadata]) -> None:
        """Hold the watch against a LIST: a version that it has not shown by then is missed."""
        found = {}
        for metadata in listed:
            key = Key(metadata["namespace"], metadata["name"])
            found[key] = version = metadata["resourceVersion"]
            if self._shown.get(key) == version:
                self._missed.pop(key, None)
            elif key not in self._missed:
                self._missed[key] = (version, self._clock())
        for memory in (self._shown, self._own, self._missed):
            for gone in [key for key in memory if key not in found]:
                memory.pop(gone)

    @property
    def watch_age(self) -> float:
        """Seconds since the oldest change that the watch still owes; 0 when it owes none."""
        since = [at for _, at in self._missed.values()]
        return self._clock() - min(since) if since else 0.0


class Doorstep:
    """Takes events in from another thread, and hands them to the inbox in its own."""

    def __init__(self, inbox: Inbox, hand_over: Callable[..., object]) -> None:
        """Keep the inbox and its loop's ``call_soon_threadsafe``."""
        self._inbox = inbox
        self._hand_over = hand_over

    def job(self, metadata: Metadata, *, deleted: bool = False) -> None:
        """See ``Inbox.job``."""
        self._hand_over(partial(self._inbox.job, metadata, deleted=deleted))

    def child(self, metadata: Metadata) -> None:
        """See ``Inbox.child``."""
        self._hand_over(self._inbox.child, metadata)
