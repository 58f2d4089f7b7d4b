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
        self._shown: dict[str, str] = {}
        """resourceVersion that the watch showed last, by uid: a namesake is another job."""
        self._own: dict[Key, str] = {}
        """resourceVersion of the status that this operator wrote last, by job."""
        self._missed: dict[str, float] = {}
        """When a LIST first had a version of a job that the watch has not shown, by uid."""
        self._absent: set[str | Key] = set()
        """What the last LIST did not have: what was made while it ran is in the next one."""
        self._audited = clock()

    def job(self, metadata: Metadata, *, deleted: bool = False) -> None:
        """Take in an event of a job; what we wrote ourselves is no news."""
        key = Key(metadata["namespace"], metadata["name"])
        uid, version = metadata["uid"], metadata["resourceVersion"]
        self._missed.pop(uid, None)
        if deleted:
            self._shown.pop(uid, None)
        else:
            self._shown[uid] = version
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

    def is_newest(self, uid: str, version: str) -> bool:
        """Tell whether the watch showed this version of a job last, and owes none since."""
        return uid not in self._missed and self._shown.get(uid) == version

    def wrote(self, key: Key, version: str) -> None:
        """Remember a version of our own making."""
        self._own[key] = version

    def audit(self, listed: Iterable[Metadata]) -> None:
        """Hold the watch against a LIST: a version that it has not shown by then is missed."""
        found: set[str | Key] = set()
        self._audited = self._clock()
        for metadata in listed:
            uid = metadata["uid"]
            found |= {uid, Key(metadata["namespace"], metadata["name"])}
            if self._shown.get(uid) == metadata["resourceVersion"]:
                self._missed.pop(uid, None)
            else:
                self._missed.setdefault(uid, self._audited)
        self._missed = {uid: at for uid, at in self._missed.items() if uid in found}
        known: set[str | Key] = {*self._shown, *self._own}
        absent = known - found
        twice, self._absent = absent & self._absent, absent
        self._shown = {uid: x for uid, x in self._shown.items() if uid not in twice}
        self._own = {key: x for key, x in self._own.items() if key not in twice}

    @property
    def watch_age(self) -> float:
        """Seconds for which the watch has owed a change at the last LIST; 0 when it owes none.

        Not up to now: while the API server is away there is nothing that a watch could show.
        """
        return self._audited - min(self._missed.values(), default=self._audited)


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
