"""How kopf reaches the API server: it is told the metadata of what it watches, and no more.

Handlers only look at metadata, and an object with its requests is twenty times as large: the rest
need not be encoded, sent and parsed for every event of every pod.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
import kopf

from mpj_operator.shell.kube.api import METADATA

_LIST, _ONE = "PartialObjectMetadataList", "PartialObjectMetadata"
_QUIET: Final = 60.0
"""Seconds after which a 401 is an accident, and not the same refusal as before."""


def by_proxy() -> bool:
    """Tell whether the environment's proxies are to be used: never from within the cluster.

    There a proxy is for what lies outside, and a NO_PROXY with the range of the API server's
    address, as clusters have it, is not understood by Python. Where no proxy is set, aiohttp need
    not ask a thread to look for ~/.netrc before each request.
    """
    return bool(getproxies()) and "KUBERNETES_SERVICE_HOST" not in os.environ


class _Response(aiohttp.ClientResponse):
    """An answer; an empty list of partial objects comes without a list, which kopf expects."""

    async def json(self, **given: Any) -> Any:  # noqa: ANN401 - aiohttp's own
        """Return the body, parsed."""
        said = await super().json(**given)
        if isinstance(said, dict) and said.get("items", ()) is None:
            said["items"] = []
        return said


class Growing:
    """Delays that grow to half a minute and never end: kopf exits when a finite list is used up."""

    def __iter__(self) -> Iterator[float]:
        delay = 0.5
        while True:
            yield delay
            delay = min(30.0, delay * 2)


class Login:
    """Logs in again whenever the server says 401, and slowly while there is nothing new to try."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep a clock in seconds."""
        self._clock = clock
        self._last: kopf.ConnectionInfo | None = None
        self._at = -_QUIET
        self._delays = iter(Growing())

    async def __call__(self, **given: Any) -> kopf.AiohttpSession | None:  # noqa: ANN401 - kopf's
        """Return a session with the credentials of the pod, else of the kubeconfig, or None."""
        found = kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)
        if found is None:
            return None
        if found != self._last or self._clock() - self._at > _QUIET:
            self._delays = iter(Growing())
        else:
            await asyncio.sleep(next(self._delays))
        self._last, self._at = found, self._clock()
        return _session(found)


def _session(info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        proxy=info.proxy_url,
        trust_env=info.trust_env,
        middlewares=(_ask_for_metadata,),
        response_class=_Response,
    )
    return kopf.AiohttpSession(
        server=info.server,
        default_namespace=info.default_namespace,
        expiration=info.expiration,
        aiohttp_session=session,
    )


async def _ask_for_metadata(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Ask for partial objects; what has none, such as the list of resources, comes as it is."""
    kind = _ONE if request.url.query.get("watch") else _LIST
    request.headers["Accept"] = METADATA.format(kind=kind)
    return await handler(request)
