"""An API server spoken to in JSON over one connection: a request costs about a millisecond."""

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

Json = dict[str, Any]
MPJ = "mixedprecision.dev/v1alpha1", "mixedprecisionjobs"
JOB = "batch/v1", "jobs"
POD = "v1", "pods"


class ApiError(Exception):
    """Raise when the API server refuses; ``answer`` is its Status."""

    def __init__(self, answer: Json) -> None:
        super().__init__(answer.get("message", str(answer)))
        self.answer = answer

    @property
    def status(self) -> int:
        return int(self.answer.get("code", 0))

    @property
    def causes(self) -> list[tuple[str, str]]:
        """List (field, message) of what is wrong with an object."""
        causes = self.answer.get("details", {}).get("causes", ())
        return [(cause.get("field", ""), cause.get("message", "")) for cause in causes]


def path(kind: tuple[str, str], namespace: str | None = None, *names: str) -> str:
    """Return the path of a collection, of an object (``names``: it) or of its subresource."""
    version, plural = kind
    root = "/api/v1" if version == "v1" else f"/apis/{version}"
    inside = f"/namespaces/{namespace}" if namespace else ""
    return "/".join([f"{root}{inside}/{plural}", *names])


@dataclass
class Api:
    """A client of one kubeconfig; safe to share among threads, which then wait for each other."""

    host: str
    port: int
    context: ssl.SSLContext
    token: str | None = None
    _connection: http.client.HTTPSConnection | None = field(default=None, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    @classmethod
    def of(cls, kubeconfig: Path) -> "Api":
        """Return a client for the kubeconfig of ``ControlPlane``."""
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        if "client-certificate" in user:
            context.load_cert_chain(user["client-certificate"], user["client-key"])
        host, _, port = cluster["server"].removeprefix("https://").partition(":")
        return cls(host, int(port), context, user.get("token"))

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        **query: str,
    ) -> Json:
        """Send one request and return the answer.

        Raises:
            ApiError: the server refuses.
            OSError: it cannot be reached.
        """
        status, data = self._exchange(method, path, body, content_type, query)
        try:
            answer = json.loads(data)
        except ValueError:
            answer = {"code": status, "message": data.decode(errors="replace")}
        if status >= 400:
            raise ApiError({"code": status, **answer})
        return answer

    def text(self, path: str) -> str:
        """Return the body of a plain answer, such as /readyz or /metrics."""
        status, data = self._exchange("GET", path, None, "application/json", {})
        if status >= 400:
            raise ApiError({"code": status, "message": data.decode(errors="replace")})
        return data.decode()

    def get(self, path: str) -> Json | None:
        """Return an object, or None when there is none."""
        try:
            return self.call("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def items(self, path: str, **query: str) -> list[Json]:
        """Return a collection's objects."""
        return list(self.call("GET", path, **query)["items"])

    def create(self, path: str, body: Json, **query: str) -> Json:
        return self.call("POST", path, body, **query)

    def apply(self, path: str, body: Json, *, manager: str = "tests", **query: str) -> Json:
        """Apply on the server's side, as ``kubectl apply --server-side --force-conflicts``."""
        return self.call(
            "PATCH", path, body, content_type="application/apply-patch+yaml",
            fieldManager=manager, force="true", **query,
        )  # fmt: skip

    def patch(self, path: str, body: Json, **query: str) -> Json:
        """Merge members into an object."""
        return self.call("PATCH", path, body, content_type="application/merge-patch+json", **query)

    def delete(self, path: str, **options: Any) -> None:
        """Delete an object or a collection; there may be none. Options are DeleteOptions."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
        try:
            self.call("DELETE", path, body)
        except ApiError as error:
            if error.status != 404:
                raise

    def until(
        self, path: str, holds: Callable[[Json | None], bool], seconds: float = 60
    ) -> Json | None:
        """Return an object as soon as something holds of it (None: it does not exist).

        Raises:
            AssertionError: it does not come to hold; the message is the object.
        """
        for seen in polled(seconds):
            seen.value = self.get(path)
            if holds(seen.value):
                return seen.value
        raise AssertionError(f"{path} after {seconds:g} s: {json.dumps(seen.value, indent=1)}")

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _exchange(
        self, method: str, path: str, body: Any, content_type: str, query: dict[str, str]
    ) -> tuple[int, bytes]:
        target = f"{path}?{urlencode(query)}" if query else path
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        with self._lock:
            fresh = self._connection is None
            try:
                return self._send(method, target, data, headers)
            except (OSError, http.client.HTTPException):
                self.close()
                if fresh:  # else the server closed it while nobody used it
                    raise
                return self._send(method, target, data, headers)

    def _send(
        self, method: str, target: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self.host, self.port, context=self.context, timeout=60
            )
        self._connection.request(method, target, data, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()


@dataclass
class Seen:
    """What a poll saw last."""

    value: Any = None


def polled(seconds: float, every: float = 0.05) -> Iterator[Seen]:
    """Yield at once and then at intervals until the time is over."""
    seen, end = Seen(), time.monotonic() + seconds
    while True:
        yield seen
        if time.monotonic() > end:
            return
        time.sleep(every)
