"""Probes and metrics over HTTP, from the loop that does the work: one that hangs is silent."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiohttp import web

from mpj_operator.shell.metrics import Metrics

MAX_WATCH_AGE: Final = 300.0


@asynccontextmanager
async def serving(
    port: int,
    metrics: Metrics,
    *,
    watch_age: Callable[[], float],
    ready: Callable[[], bool],
) -> AsyncIterator[int]:
    """Serve /healthz, /readyz and /metrics; gives the port.

    Args:
        port: 0: any free one.
        metrics: for /metrics.
        watch_age: seconds; too old means not alive. It grows only from what a LIST has shown, so
            an API server that does not answer never makes the operator restart.
        ready: the operator works, or stands by.
    """

    async def alive(_: web.Request) -> web.Response:
        age = watch_age()
        if age > MAX_WATCH_AGE:
            return web.Response(status=500, text=f"the watch is {age:.0f} s behind\n")
        return web.Response(text="ok\n")

    async def readiness(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if ready() else web.Response(status=503, text="starting\n")

    async def figures(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", readiness)
    app.router.add_get("/metrics", figures)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, _listening(port)).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _listening(port: int) -> socket.socket:
    """Return a socket for every address of the pod: the kubelet asks from outside, by IPv4 or 6."""
    with suppress(OSError):  # no IPv6 here: then IPv4 alone, or its error
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("0.0.0.0", port))  # noqa: S104 - see above
