"""A way to the API server on which things go wrong: TLS in, TLS out, faults between."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from aiohttp import web
from controlplane import ControlPlane

Fault = int | Literal["hang", "cut"]
"""A status to answer; no answer at all; a connection that breaks once the request is done."""
Rule = Callable[[str, str], Fault | None]
"""From method and path with query to what goes wrong, if anything."""


def _nothing(_method: str, _path: str) -> Fault | None:
    return None


@dataclass
class ApiProxy:
    """Forwards requests as a rule says; the rule may be changed at any time."""

    plane: ControlPlane
    rule: Rule = _nothing
    port: int = 0
    struck: list[str] = field(default_factory=list)
    """Requests on which a fault was played."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        pair, ca = self.plane.authority.pair("server"), self.plane.authority.pair("ca")
        front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        front.load_cert_chain(pair.certificate, pair.key)
        back = ssl.create_default_context(cafile=str(ca.certificate))
        connector = aiohttp.TCPConnector(ssl=back, limit=0)
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=False
        ) as self._session:
            app = web.Application(client_max_size=1 << 24)
            app.router.add_route("*", "/{tail:.*}", self._forward)
            runner = web.AppRunner(
                app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
            )
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=front)
            await site.start()
            self.port = runner.addresses[0][1]
            started.set()
            await stop.wait()
            await runner.cleanup()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        fault = self.rule(request.method, request.path_qs)
        if fault is not None:
            self.struck.append(f"{request.method} {request.path_qs}")
        if fault == "hang":
            await asyncio.sleep(3600)
        if isinstance(fault, int):
            body = {"kind": "Status", "code": fault, "reason": "Injected", "message": "injected"}
            return web.json_response(body, status=fault)
        given = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        async with self._session.request(
            request.method,
            f"{self.plane.url}{request.path_qs}",
            headers=given,
            data=await request.read(),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            if fault == "cut":
                await answer.read()
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError("cut on purpose")
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            stream = web.StreamResponse(status=answer.status, headers=kept)
            await stream.prepare(request)
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                async for chunk in answer.content.iter_any():
                    await stream.write(chunk)
            return stream


_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length", "keep-alive"})


@contextmanager
def api_proxy(plane: ControlPlane) -> Iterator[ApiProxy]:
    """Run a proxy before a control plane, in a thread, for the length of a block."""
    proxy, started = ApiProxy(plane), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(proxy.serve(started, stop))
        loop.close()

    thread = threading.Thread(target=run, name="api-proxy", daemon=True)
    thread.start()
    if not started.wait(10):
        raise RuntimeError("the proxy does not start")
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
