"""Readiness probes of a node's pods: HTTP only."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from podstatus import ADDRESS

_TIMEOUT: Final = aiohttp.ClientTimeout(total=2)


def probed(spec: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    """Return the URLs that say whether a pod's containers are ready, and how often to ask."""
    found = {}
    for container in spec["containers"]:
        probe = container.get("readinessProbe")
        if probe is None or "httpGet" not in probe:
            continue
        wanted = probe["httpGet"]
        named = {port.get("name"): port["containerPort"] for port in container.get("ports", ())}
        port = named.get(wanted["port"], wanted["port"])
        url = f"http://{ADDRESS}:{port}{wanted.get('path', '/')}"
        found[container["name"]] = (url, min(1.0, float(probe.get("periodSeconds", 10))))
    return found


async def watch_readiness(spec: Mapping[str, Any], tell: Callable[[str, bool], None]) -> None:
    """Tell for ever whether containers with a probe are ready."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        probes = probed(spec).items()
        await asyncio.gather(*(_ask(session, name, *probe, tell) for name, probe in probes))


async def _ask(
    session: aiohttp.ClientSession,
    name: str,
    url: str,
    every: float,
    tell: Callable[[str, bool], None],
) -> None:
    while True:
        try:
            async with session.get(url) as answer:
                tell(name, 200 <= answer.status < 400)
        except (aiohttp.ClientError, TimeoutError):
            tell(name, False)
        await asyncio.sleep(every)
