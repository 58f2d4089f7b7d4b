"""Children whose pods are not created, or do not start: only events say why."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mpj_operator.core.observed import ChildSeen
from mpj_operator.shell.kube.api import Api, ApiError, events_path

log = logging.getLogger(__name__)
PATIENCE: Final = timedelta(seconds=5)
"""Age of a child without pods from which on it is asked why."""
START: Final = timedelta(seconds=30)
"""Time on a node from which on a pod of which nothing runs is asked why: volumes, networks."""
_POD: Final = re.compile(r'pods? "[^"]*"')
Json = Mapping[str, Any]


async def explained(
    api: Api,
    namespace: str,
    children: Sequence[ChildSeen],
    raw: Iterable[Json],
    now: datetime,
) -> tuple[ChildSeen, ...]:
    """Return children that say why they have no pod, and pods that say why they do not start.

    Args:
        api: the API server.
        namespace: of the children.
        children: as seen.
        raw: the batch/v1 Jobs and the pods that they were seen of.
        now: the time.
    """
    by_name = {item["metadata"]["name"]: item["metadata"] for item in raw}
    result = []
    for child in children:
        if _is_podless(child) and _age(by_name[child.name], now) >= PATIENCE:
            uid = by_name[child.name]["uid"]
            words = await _words(api, namespace, f"regarding.uid={uid},reason=FailedCreate")
            # Without the pod's name, which is new each time.
            child = replace(child, message=_POD.sub("its pod", words.partition(": ")[2]))
        elif (since := child.waits_on_its_node_since) is not None and now - since >= START:
            pod = child.pods[-1]
            uid = by_name[pod.name]["uid"]
            # What was said before it had its node, such as that there was none, is over.
            words = await _words(api, namespace, f"regarding.uid={uid},type=Warning", since)
            child = replace(child, pods=(*child.pods[:-1], replace(pod, held_up=words)))
        result.append(child)
    return tuple(result)


async def _words(api: Api, namespace: str, fields: str, since: datetime | None = None) -> str:
    """Return the reason and the note of the newest event of some fields, or nothing.

    A role that may not list events must not keep the job from going on.
    """
    try:
        events = await api.list(events_path(namespace), fields=fields)
    except ApiError as error:
        log.warning("why a unit in %s waits cannot be asked: %s", namespace, error)
        return ""
    late = [e for e in events if since is None or _moment(_when(e)) >= since]
    newest = max(late, key=_when, default=None)
    return "" if newest is None else f"{newest.get('reason') or ''}: {newest.get('note') or ''}"


def _is_podless(child: ChildSeen) -> bool:
    busy = child.pods or child.outcome or child.suspended or child.deleting
    return child.owned and not busy


def _age(metadata: Json, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(metadata["creationTimestamp"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.max.replace(tzinfo=UTC)


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
