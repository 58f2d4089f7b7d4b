"""Jobs as this operator has just written them: each spares the next pass over it one read."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.status import ENDED, JobStatus
from mpj_operator.shell.cluster import Key

MOST: Final = 256
"""Jobs that are remembered, the newest: each takes some 100 kB."""
SECONDS: Final = 30.0
"""Time after which a job is read, whatever the watch has shown."""


class Recall:
    """What was written, for one look, soon, and only while the watch has shown nothing newer.

    A watch that lags costs one pass: what it decides is made under names that depend on nothing
    but the job, its status is refused, since it is for a version that is no longer there, and so is
    what it would make again: see ``rests_on``.
    """

    def __init__(
        self,
        is_newest: Callable[[str, str], bool],
        *,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember nothing yet.

        Args:
            is_newest: tells of a uid and a resourceVersion whether the watch showed that last.
            most: jobs to remember.
            clock: monotonic, in seconds.
        """
        self._is_newest = is_newest
        self._most = most
        self._clock = clock
        self._written: OrderedDict[Key, tuple[float, MixedPrecisionJob]] = OrderedDict()
        self._taken: dict[Key, str] = {}
        """resourceVersion of what was taken for a pass that has written nothing yet."""

    def wrote(self, key: Key, job: MixedPrecisionJob, status: JobStatus, version: str) -> None:
        """Remember a job with its new status.

        Not one that has ended, since nothing is to follow, and not one with a deadline: what was
        reached in an older spec would end pods that the present one lets run.
        """
        self._written.pop(key, None)
        self._taken.pop(key, None)
        if status.state in ENDED or job.spec.active_deadline_seconds is not None:
            return
        metadata = job.metadata.model_copy(update={"resource_version": version})
        written = job.model_copy(update={"metadata": metadata, "status": status})
        self._written[key] = self._clock(), written
        if len(self._written) > self._most:
            self._written.popitem(last=False)

    def take(self, key: Key) -> MixedPrecisionJob | None:
        """Return a job as it was written last, once, or None where it has to be read."""
        self._taken.pop(key, None)
        at, job = self._written.pop(key, (0.0, None))
        if job is None or self._clock() - at > SECONDS:
            return None
        uid, version = job.metadata.uid, job.metadata.resource_version
        if not uid or not version or not self._is_newest(uid, version):
            return None
        self._taken[key] = version
        return job

    def rests_on(self, key: Key) -> str | None:
        """Return the resourceVersion that the present pass took from here; None: it has read."""
        return self._taken.get(key)
