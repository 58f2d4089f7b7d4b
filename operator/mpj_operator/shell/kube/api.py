"""The few calls that the operator makes of a Kubernetes API, in JSON, over one bounded pool.

The official client serializes, signs and sends; its models are left out, since a plan reads few
fields of large objects.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from pydantic_core import from_json

from mpj_operator.api.job import GROUP, PLURAL, VERSION

FIELD_MANAGER: Final = "mixedprecision-operator"
TIMEOUT: Final = 30.0
"""Seconds for one request; the largest answer is a list of one job's pods."""
Json = dict[str, Any]
JOBS: Final = f"/apis/{GROUP}/{VERSION}"
PAGE: Final = 500
METADATA: Final = "application/json;as={kind};g=meta.k8s.io;v=v1,application/json"
"""What is accepted where the metadata will do; kind: PartialObjectMetadata, or a list of them."""
_WHOLE: Final = "application/json"
WRITES: Final = frozenset({"POST", "PATCH"})
_WRITTEN: Final = {
    "fieldManager": FIELD_MANAGER,
    # Else the server parses what it is sent a second time, for a warning that nobody reads.
    "fieldValidation": "Ignore",
}
"""Query of every request that writes."""


class ApiError(Exception):
    """The API refused or did not answer."""

    def __init__(
        self, status: int, reason: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{status or 'no answer'} {reason}: {message}".strip())
        self.status = status
        """HTTP status; 0: no answer."""
        self.reason = reason
        """Kubernetes' reason, such as AlreadyExists."""
        self.message = message
        self.retry_after = retry_after
        """Seconds, where the server says so."""


class Api:
    """A Kubernetes API; answers are plain JSON."""

    def __init__(
        self,
        configuration: client.Configuration,
        *,
        connections: int = 32,
        observe: Callable[[str, int], None] = lambda _verb, _status: None,
    ) -> None:
        """Open no connection yet.

        Args:
            configuration: server, certificates and token.
            connections: most that are open at once.
            observe: told of every answer: verb and HTTP status (0: none).
        """
        configuration.connection_pool_maxsize = connections
        self._client = client.ApiClient(configuration)
        self._observe = observe

    @property
    def client(self) -> client.ApiClient:
        """The official client, for its leader election."""
        return self._client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.close()

    async def get(self, path: str) -> Json | None:
        """Return an object, or None where there is none."""
        try:
            return await self.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self,
        path: str,
        *,
        selector: str = "",
        fields: str = "",
        page: int = PAGE,
        keep: Callable[[Json], Json] = lambda item: item,
    ) -> tuple[Json, ...]:
        """Return the objects of a collection with such labels and fields.

        Args:
            path: of the collection.
            selector: of labels.
            fields: selector of fields.
            page: most objects in one answer; parsed, they take four times the memory.
            keep: what is to be remembered of an object while further pages are read.
        """
        query: dict[str, str] = {"limit": str(page)}
        found: list[Json] = []
        if selector:
            query["labelSelector"] = selector
        if fields:
            query["fieldSelector"] = fields
        while True:
            answer = await self.request("GET", path, query=query)
            found += map(keep, answer["items"])
            token = answer["metadata"].get("continue")
            if not token:
                return tuple(found)
            query["continue"] = token

    async def request(
        self,
        verb: str,
        path: str,
        body: Json | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """Send one request and return its answer; of what was written, the metadata only.

        Raises:
            ApiError: any status but 2xx, and no answer.
        """
        writes = verb in WRITES
        accepted = METADATA.format(kind="PartialObjectMetadata") if writes else _WHOLE
        asked = {**(_WRITTEN if writes else {}), **(query or {})}
        method, url, headers, data, fields = await self._client.param_serialize(
            verb,
            path,
            query_params=list(asked.items()),
            header_params={"Accept": accepted, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        status = 0
        try:
            answer = await self._client.call_api(
                method, url, headers, data, fields, _request_timeout=TIMEOUT
            )
            content = await answer.read()
            status = answer.status
            if not 200 <= status < 300:
                raise _refused(status, content, answer.headers.get("Retry-After"))
            parsed: Json = from_json(content)  # a quarter of all work was json.loads
        except ApiException as error:
            raise ApiError(0, "ClientError", str(error)) from error
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiError(0, type(error).__name__, str(error)) from error
        finally:
            self._observe(verb, status)
        return parsed


def _refused(status: int, content: bytes, retry_after: str | None) -> ApiError:
    try:
        said = json.loads(content)
    except ValueError:
        said = None
    if not isinstance(said, dict):  # a proxy's own words, or an odd answer's
        said = {"message": content[:500].decode(errors="replace")}
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    return ApiError(status, str(said.get("reason") or ""), str(said.get("message") or ""), seconds)


def job_path(namespace: str, name: str = "") -> str:
    """Return the path of a MixedPrecisionJob, or of a namespace's."""
    return f"{JOBS}/namespaces/{namespace}/{PLURAL}" + (f"/{name}" if name else "")


def child_path(namespace: str, name: str = "") -> str:
    """Return the path of a batch/v1 Job, or of a namespace's."""
    return f"/apis/batch/v1/namespaces/{namespace}/jobs" + (f"/{name}" if name else "")


def events_path(namespace: str) -> str:
    """Return the path of a namespace's events."""
    return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"


def pods_path(namespace: str) -> str:
    """Return the path of a namespace's pods."""
    return f"/api/v1/namespaces/{namespace}/pods"
