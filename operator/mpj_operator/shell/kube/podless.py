"""Children whose pods are not created: only the Job controller's events say why."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from mpj_operator.core.observed import ChildSeen
from mpj_operator.shell.kube.api import Api, ApiError, events_path

log = logging.getLogger(__name__)
PATIENCE: Final = timedelta(seconds=5)
"""Age of a child without pods from which on it is asked why."""
_POD: Final = re.compile(r'pods? "[^"]*"')
Json = Mapping[str, Any]


async def explained(
    api: Api,
    namespace: str,
    children: Sequence[ChildSeen],
    jobs: Iterable[Json],
    now: datetime,
) -> tuple[ChildSeen, ...]:
    """Return children whose message says why they have no pod, where the cluster refuses one.

    Args:
        api: the API server.
        namespace: of the children.
        children: as seen.
        jobs: the batch/v1 Jobs that they were seen of.
        now: the time.
    """
    by_name = {job["metadata"]["name"]: job["metadata"] for job in jobs}
    result = []
    for child in children:
        metadata = by_name[child.name]
        if _is_podless(child) and _age(metadata, now) >= PATIENCE:
            child = replace(child, message=await _words(api, namespace, metadata["uid"]))
        result.append(child)
    return tuple(result)


async def _words(api: Api, namespace: str, uid: str) -> str:
    """Return the note of a Job's newest FailedCreate, without the pod's name: it is new each time.

    A role that may not list events must not keep the job from going on.
    """
    try:
        fields = f"regarding.uid={uid},reason=FailedCreate"
        events = await api.list(events_path(namespace), fields=fields)
    except ApiError as error:
        log.warning("why a Job in %s has no pod cannot be asked: %s", namespace, error)
        return ""
    newest = max(events, key=_when, default=None)
    return "" if newest is None else _POD.sub("its pod", newest.get("note") or "")


def _is_podless(child: ChildSeen) -> bool:
    busy = child.pods or child.outcome or child.suspended or child.deleting
    return child.owned and not busy


def _age(metadata: Json, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(metadata["creationTimestamp"])


def _when(event: Json) -> str:
    """Return when an event was seen last, in the words of whichever recorder made it."""
    series = event.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    )
    return next(filter(None, times), "")
