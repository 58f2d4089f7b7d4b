"""An API server in memory that answers an operator and writes down what it was asked.

It checks nothing and keeps nothing but Leases: for what the operator asks, not for what comes of
it; the cluster tests have a real one.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from aiohttp import web

Object = dict[str, Any]
_PATH: Final = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?"
)
_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SERVED: Final = {
    "/api/v1": [("pods", "Pod"), ("namespaces", "Namespace")],
    "/apis/apiextensions.k8s.io/v1": [("customresourcedefinitions", "CustomResourceDefinition")],
    "/apis/batch/v1": [("jobs", "Job")],
    "/apis/mixedprecision.dev/v1alpha1": [("mixedprecisionjobs", "MixedPrecisionJob")],
}
_ALL_VERBS: Final = ["get", "list", "watch", "create", "update", "patch", "delete"]


class Asked(NamedTuple):
    """One request in the words of RBAC."""

    group: str
    resource: str
    """With its subresource: ``pods/log``."""
    verb: str
    namespace: str
    """Empty: all."""
    name: str


@dataclass
class Recording:
    """What is there, and what was asked."""

    objects: Mapping[str, list[Object]]
    """By resource: what lists and gets show."""
    conflicts: bool = True
    """Every child that is to be created is there already."""
    asked: set[Asked] = field(default_factory=set)
    leases: dict[str, Object] = field(default_factory=dict)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in ("/api", "/apis", *_SERVED):
            return web.json_response(_discovery(request.path))
        match = _PATH.fullmatch(request.path)
        assert match is not None, request.path
        asked = self._note(match, request)
        if asked.verb == "watch":
            return await self._silence(request)
        if asked.verb == "list":
            return web.json_response(self._list(asked, request.query.get("labelSelector", "")))
        if asked.resource == "leases":
            return await self._lease(asked, request)
        if asked.verb == "create" and asked.resource == "jobs" and self.conflicts:
            return _refusal(409, "AlreadyExists")
        found = self._find(asked)
        if found is None and asked.verb == "get":
            return _refusal(404, "NotFound")
        return web.json_response(found or {"metadata": {}})

    def _note(self, match: re.Match[str], request: web.Request) -> Asked:
        got = "get" if match["name"] else "watch" if "watch" in request.query else "list"
        resource = match["resource"] + (f"/{match['sub']}" if match["sub"] else "")
        verb = _VERBS.get(request.method, got)
        asked = Asked(
            match["group"] or "", resource, verb, match["namespace"] or "", match["name"] or ""
        )
        self.asked.add(asked)
        return asked

    async def _silence(self, request: web.Request) -> web.StreamResponse:
        """Answer a watch: nothing happens."""
        response = web.StreamResponse()
        await response.prepare(request)
        await self.ending.wait()
        return response

    def _list(self, asked: Asked, selector: str) -> Object:
        key, _, value = selector.partition("=")
        items = [
            item
            for item in self.objects.get(asked.resource, ())
            if not value or item["metadata"]["labels"].get(key) == value
        ]
        return {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}

    def _find(self, asked: Asked) -> Object | None:
        listed = self.objects.get(asked.resource.partition("/")[0], ())
        return next((x for x in listed if x["metadata"]["name"] == asked.name), None)

    async def _lease(self, asked: Asked, request: web.Request) -> web.Response:
        if asked.verb in ("create", "update"):
            lease = await request.json()
            self.leases[lease["metadata"]["name"]] = lease
            return web.json_response(lease)
        found = self.leases.get(asked.name)
        if found is None:
            return _refusal(404, "NotFound")
        return web.json_response(found)


@asynccontextmanager
async def recording(objects: Mapping[str, list[Object]]) -> AsyncIterator[tuple[Recording, str]]:
    """Serve for the length of a block; gives the record and the server's address."""
    made = Recording(objects)
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield made, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        made.ending.set()
        await runner.cleanup()


def _refusal(code: int, reason: str) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": ""}
    return web.json_response(body, status=code)


def _discovery(path: str) -> Object:
    if path == "/api":
        return {"versions": ["v1"]}
    if path == "/apis":
        versions = [p.removeprefix("/apis/") for p in _SERVED if p.startswith("/apis/")]
        return {
            "groups": [
                {
                    "name": v.partition("/")[0],
                    "versions": [{"groupVersion": v, "version": v.partition("/")[2]}],
                    "preferredVersion": {"groupVersion": v, "version": v.partition("/")[2]},
                }
                for v in versions
            ]
        }
    return {
        "resources": [
            {
                "name": plural, "singularName": kind.lower(), "kind": kind,
                "namespaced": kind not in ("Namespace", "CustomResourceDefinition"),
                "verbs": _ALL_VERBS,
            }
            for plural, kind in _SERVED[path]
        ]
    }  # fmt: skip
