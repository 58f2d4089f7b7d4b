"""Jobs as this operator has just written them: each spares the next pass over it one read."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.status import ENDED, JobStatus
from mpj_operator.shell.cluster import Key

MOST: Final = 256
"""Jobs that are remembered, the newest: each takes some 100 kB."""


class Recall:
    """What was written, for one look, and only while the watch has shown nothing newer.

    A watch that lags costs one pass: what it decides is made under names that depend on nothing
    but the job, and its status is refused, since it is for a version that is no longer there.
    """

    def __init__(self, is_newest: Callable[[str, str], bool], most: int = MOST) -> None:
        """Remember nothing yet.

        Args:
            is_newest: tells of a uid and a resourceVersion whether the watch showed that last.
            most: jobs to remember.
        """
        self._is_newest = is_newest
        self._most = most
        self._written: OrderedDict[Key, MixedPrecisionJob] = OrderedDict()

    def wrote(self, key: Key, job: MixedPrecisionJob, status: JobStatus, version: str) -> None:
        """Remember a job with its new status; not one that has ended: nothing is to follow."""
        self._written.pop(key, None)
        if status.state in ENDED:
            return
        metadata = job.metadata.model_copy(update={"resource_version": version})
        self._written[key] = job.model_copy(update={"metadata": metadata, "status": status})
        if len(self._written) > self._most:
            self._written.popitem(last=False)

    def take(self, key: Key) -> MixedPrecisionJob | None:
        """Return a job as it was written last, once, or None where it has to be read."""
        job = self._written.pop(key, None)
        if job is None:
            return None
        uid, version = job.metadata.uid, job.metadata.resource_version
        return job if uid and version and self._is_newest(uid, version) else None
