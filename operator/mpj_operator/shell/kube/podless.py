"""Children whose pods are not created: only the Job controller's events say why."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from mpj_operator.core.observed import ChildSeen
from mpj_operator.shell.kube.api import Api, events_path

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
            fields = f"regarding.uid={metadata['uid']},reason=FailedCreate"
            events = await api.list(events_path(namespace), fields=fields)
            child = replace(child, message=newest_words(events))
        result.append(child)
    return tuple(result)


def newest_words(events: Iterable[Json]) -> str:
    """Return the note of the newest event, without the pod's name, which is new each time."""
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
