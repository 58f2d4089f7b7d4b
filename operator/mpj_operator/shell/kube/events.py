"""Events: told after the status is written, in the background, and never in the way."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from mpj_operator.api.job import KIND
from mpj_operator.api.load import API_VERSION
from mpj_operator.core.notes import Note
from mpj_operator.shell.kube.api import FIELD_MANAGER, Api, events_path

log = logging.getLogger(__name__)
NOTE: Final = 1024
"""Bytes of a note that the API takes."""
_CUT: Final = "…"
BACKLOG: Final = 1000
"""Events that may wait; further ones are dropped: the status says the same."""


class Events:
    """Posts events one after another."""

    def __init__(self, api: Api, instance: str) -> None:
        """Keep the API and the name of this operator's pod."""
        self._api = api
        self._instance = instance
        self._waiting: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(BACKLOG)

    def tell(self, metadata: Mapping[str, Any], note: Note) -> None:
        """Tell of something about the job with this metadata, soon."""
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "generateName": f"{metadata['name']}-",
                "namespace": metadata["namespace"],
            },
            "eventTime": datetime.now(UTC).isoformat(timespec="microseconds"),
            "reportingController": f"mixedprecision.dev/{FIELD_MANAGER}",
            "reportingInstance": self._instance,
            "type": note.type,
            "reason": note.reason,
            "action": note.action,
            "note": _fitting(note.message),
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
        }
        try:
            self._waiting.put_nowait((events_path(metadata["namespace"]), event))
        except asyncio.QueueFull:
            log.warning("an event was dropped", extra={"reason": note.reason})

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            path, event = await self._waiting.get()
            try:
                await self._api.request("POST", path, event)
            except Exception as error:  # an event less is no reason to stop telling
                log.warning("an event was not posted: %s", error)
            finally:
                self._waiting.task_done()

    async def drain(self) -> None:
        """Wait until everything told so far is posted."""
        await self._waiting.join()


def _fitting(message: str) -> str:
    """Return a message, cut where it is longer than the API takes; whoever reads it can tell."""
    whole = message.encode()
    if len(whole) <= NOTE:
        return message
    return whole[: NOTE - len(_CUT.encode())].decode(errors="ignore") + _CUT
