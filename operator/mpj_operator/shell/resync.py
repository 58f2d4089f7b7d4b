"""Look at everything now and then: what a watch has missed is found here."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mpj_operator.shell.kube.api import Api, ApiError, Json

log = logging.getLogger(__name__)
FIRST: Final = 2.0
"""Seconds until the first look: the watch has begun by then."""
_PAGE: Final = 50
"""Jobs in one answer: a long one has 60 kB, and four times as much once it is parsed."""
_METADATA: Final = ("name", "namespace", "uid", "resourceVersion", "generation")
_STATUS: Final = ("state", "observedGeneration")


def outline(item: Json) -> Json:
    """Return the little of a job that a look at all of them needs."""
    parts = (("metadata", _METADATA), ("status", _STATUS))
    return {part: _only(item.get(part, {}), names) for part, names in parts}


def _only(members: Json, names: Iterable[str]) -> Json:
    return {name: members[name] for name in names if name in members}


async def resync(
    api: Api, paths: Sequence[str], seconds: float, see: Callable[[Sequence[Json]], None]
) -> None:
    """List collections again and again, until cancelled.

    Args:
        api: the API server.
        paths: of the collections.
        seconds: between two looks, give or take a fifth.
        see: told of the outlines of all objects.
    """
    wait = min(FIRST, seconds)
    while True:
        await asyncio.sleep(wait)
        wait = seconds * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        try:
            listed = [
                item for path in paths for item in await api.list(path, page=_PAGE, keep=outline)
            ]
        except ApiError as error:
            log.warning("the jobs could not be listed: %s", error)
        else:
            see(listed)
