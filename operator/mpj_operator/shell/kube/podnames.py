"""Names of pods by the batch/v1 Job that they are of, as the watch has shown them."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from mpj_operator.shell.kube.seen import JOB_NAME

MOST: Final = 10_000
"""Jobs whose pods are remembered, those of which something was heard last."""


class PodNames:
    """A hint where to look: whoever asks has to check what it finds against the Job's counts."""

    def __init__(self, most: int = MOST) -> None:
        """Know of none yet."""
        self._most = most
        self._pods: OrderedDict[tuple[str, str], tuple[str, ...]] = OrderedDict()

    def show(self, metadata: Mapping[str, Any], *, deleted: bool = False) -> None:
        """Take in an event of a pod."""
        job = metadata.get("labels", {}).get(JOB_NAME)
        if job is None:
            return
        at, name = (metadata["namespace"], job), metadata["name"]
        others = tuple(pod for pod in self._pods.pop(at, ()) if pod != name)
        if pods := others if deleted else (*others, name):
            self._pods[at] = pods
        if len(self._pods) > self._most:
            self._pods.popitem(last=False)

    def of(self, namespace: str, job: str) -> tuple[str, ...]:
        """Return the names of a Job's pods."""
        return self._pods.get((namespace, job), ())
