"""The calls that a node makes of an API server, on one event loop."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import yaml

Json = dict[str, Any]
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
"""Merges a status' conditions by type, so that DisruptionTarget of an eviction stays."""
_WATCH_SECONDS: Final = 300
_LINE: Final = 4 * 1024 * 1024


class ApiError(Exception):
    """Raise when the API server refuses, or does not answer (status 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass
class NodeApi:
    """A client of one kubeconfig."""

    session: aiohttp.ClientSession
    server: str

    @classmethod
    def of(cls, kubeconfig: Path, connections: int = 16) -> "NodeApi":
        """Return a client, to be used as a context."""
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        if "client-certificate" in user:
            context.load_cert_chain(user["client-certificate"], user["client-key"])
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        connector = aiohttp.TCPConnector(ssl=context, limit=connections)
        session = aiohttp.ClientSession(
            connector=connector, headers=headers, read_bufsize=_LINE,
            timeout=aiohttp.ClientTimeout(total=30),
        )  # fmt: skip
        return cls(session, cluster["server"])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.session.close()
        await asyncio.sleep(0.1)  # the loop closes the sockets in one of its next rounds

    async def call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        content_type: str = "application/json",
        **query: str,
    ) -> Json:
        """Send one request and return the answer.

        Raises:
            ApiError: the server refuses, or does not answer.
        """
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        try:
            async with self.session.request(
                method, self.server + path, data=data, headers=headers, params=query
            ) as answer:
                text = await answer.text()
                if answer.status >= 400:
                    raise ApiError(answer.status, text[:500])
                return dict(json.loads(text))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, repr(error)) from error

    async def insist(
        self, method: str, path: str, body: Json | None = None, **options: str
    ) -> Json | None:
        """Send a request until the server answers; return None where the object is gone."""
        delay = 0.1
        while True:
            try:
                return await self.call(method, path, body, **options)
            except ApiError as error:
                if error.status in (404, 409, 422):
                    return None
                await asyncio.sleep(delay)
                delay = min(2.0, delay * 2)

    async def watch(self, path: str, version: str, **query: str) -> AsyncIterator[Json]:
        """Yield events since a resourceVersion; the iteration ends with the server's watch.

        Raises:
            ApiError: as of ``call``, and 410 when the version is too old.
        """
        given = {
            "watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS), **query,
        }  # fmt: skip
        limits = aiohttp.ClientTimeout(total=None, sock_read=_WATCH_SECONDS + 30)
        try:
            async with self.session.get(
                self.server + path, params=given, timeout=limits
            ) as answer:  # fmt: skip
                if answer.status >= 400:
                    raise ApiError(answer.status, (await answer.text())[:500])
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError(event["object"].get("code", 500), str(event["object"]))
                    yield event
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, repr(error)) from error
