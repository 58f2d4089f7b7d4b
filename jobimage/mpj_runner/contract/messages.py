"""What a container is asked to do, and what it leaves behind."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mpj_runner.contract.access import Access, SecretKey
from mpj_runner.contract.base import Message, Name, Sha256, ShortText, Size, Uri, Value
from mpj_runner.contract.steps import StepName

MESSAGE_LIMIT = 2048
"""Bytes of a termination message: the kubelet shares 12,288 out among a pod's containers."""


VARIABLE_LIMIT = 100_000
"""Bytes of a request in one variable: Linux takes 131,072 with the name."""
_VARIABLE = "MPJ_REQUEST"


def split(text: str) -> dict[str, str]:
    """Return the variables that hold a request's JSON, which has ASCII only: mostly one."""
    parts = [text[i : i + VARIABLE_LIMIT] for i in range(0, len(text), VARIABLE_LIMIT)]
    return {f"{_VARIABLE}_{i}" if i else _VARIABLE: part for i, part in enumerate(parts)}


def joined(environment: Mapping[str, str]) -> str:
    """Return a request's JSON from its variables. Raises KeyError when there is none."""
    parts = [environment[_VARIABLE]]
    while (part := environment.get(f"{_VARIABLE}_{len(parts)}")) is not None:
        parts.append(part)
    return "".join(parts)


def canonical(data: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the one byte string that stands for a JSON value: sorted keys, no white space."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest(data: bytes) -> str:
    """Return the sha256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def claim_of(uri: str) -> str | None:
    """Return the PersistentVolumeClaim of ``pvc://claim/path``; None where it lies on none."""
    return uri[6:].split("/", 1)[0] if uri.startswith("pvc://") else None


class Input(Value):
    """Where an input comes from: exactly one member is set."""

    source: Uri | None = None
    """A user's file or folder."""
    field: ShortText | None = None
    """The field of the spec that named the source, for error messages."""
    access: Access | None = None
    """How the source's bucket is reached; it says nothing about the bytes, and joins no key."""
    step: Name | None = None
    """An earlier container of the same pod, with ``output``."""
    unit: Sha256 | None = None
    """Another unit's manifest, by digest, with ``container`` and ``output``; without them the
    input is the manifest itself, as a JSON file."""
    container: Name | None = None
    output: ShortText | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Input":
        if sum(x is not None for x in (self.source, self.step, self.unit)) != 1:
            raise ValueError("exactly one of source, step and unit must be set")
        return self


class Request(Value):
    """All that one container is told, apart from credentials: its step, parameters and inputs."""

    step: StepName
    name: Name
    """The container's name, unique in the pod."""
    params: dict[str, Any]
    inputs: dict[str, Input] = {}
    store: Uri | None = None
    """Root of blobs/ and manifests/. None: the container is sealed. It runs what it is told by the
    pod's ``fetches``, reaches no store, and leaves what it made for the pod's ``adopts``."""
    store_access: Access | None = None
    """How the store's bucket is reached."""
    publish: dict[str, Uri] = {}
    """Output or input to the stable key that people get it under, besides its blob."""
    scope: ShortText | None = None
    """Joins the cache key when set: measurements are cached for one job's uid only."""
    last: bool = True
    """The pod's last container: it writes the unit's manifest."""
    fetches: Name | None = None
    """Only look for the result of this sealed container, and bring what it needs where the store
    has none. Step, parameters and inputs are the sealed container's."""
    adopts: Name | None = None
    """Put what this sealed container left into the store, before the own step."""

    @model_validator(mode="after")
    def _sealed_or_not(self) -> "Request":
        if self.store is None and (self.inputs or self.publish or self.fetches or self.adopts):
            raise ValueError("a container without a store is sealed: it has a task, and no inputs")
        return self

    @property
    def claims(self) -> dict[str, bool]:
        """List the claims that the container needs, and whether it writes to them."""
        uris = [ref.source for ref in self.inputs.values() if ref.source is not None]
        found = {claim: False for uri in uris if (claim := claim_of(uri)) is not None}
        if self.store is not None and (claim := claim_of(self.store)) is not None:
            found[claim] = True
        return found

    @property
    def secret_keys(self) -> tuple[SecretKey, ...]:
        """List the Secrets' keys that the container needs as environment variables."""
        accesses = (self.store_access, *(ref.access for ref in self.inputs.values()))
        keys = (key for access in accesses if access is not None for key in access.secret_keys)
        return tuple(dict.fromkeys(keys))


class Blob(Value):
    """Bytes in the store, named by their digest."""

    sha256: Sha256
    size_bytes: Size
    folder: bool = False
    """The bytes are a deterministic tar of a folder; whoever fetches it gets a folder."""


class StepManifest(Value):
    """What one step left behind."""

    name: Name
    step: StepName
    key: Sha256
    """Cache key: see ``runner``."""
    params: dict[str, Any]
    inputs: dict[str, Sha256]
    outputs: dict[str, Blob]
    outcome: dict[str, Any]
    runner_version: ShortText
    packages: dict[str, str] = {}
    hardware: ShortText | None = None
    seconds: float = Field(default=0.0, ge=0)
    """Wall time of the run that made it."""


class UnitManifest(Value):
    """What one unit left behind: its steps in order."""

    steps: Annotated[tuple[StepManifest, ...], Field(min_length=1, max_length=16)]
    cached: tuple[Name, ...] = ()
    """Containers whose step was taken from the cache."""

    def step(self, name: str) -> StepManifest:
        """Return the step of a container. Raises KeyError when there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)


class StepDone(Value):
    """One finished container, in short."""

    name: Name
    cached: bool = False
    outcome: dict[str, Any]
    blobs: dict[str, Blob] = {}
    """Only the outputs that status shows: onnx, engine, metadata, json, html."""


class StepError(Value):
    """Why a container failed."""

    family: Literal["UserError", "TransientError", "Bug"]
    step: Name
    message: Message
    trace: ShortText | None = None
    """Digest of the traceback's frames: twice the same ends the unit."""


class Termination(Value):
    """A container's last words, at most MESSAGE_LIMIT bytes, self-checking.

    The last container's message repeats its predecessors' steps, so that it alone suffices.
    """

    steps: tuple[StepDone, ...] = ()
    manifest: Blob | None = None
    """The unit's manifest; set by the last container only."""
    error: StepError | None = None

    def encode(self) -> str:
        """Return the message's text. Raises ValueError when it is longer than MESSAGE_LIMIT."""
        body = self.to_json()
        text = canonical({**body, "check": digest(canonical(body))[:8]}).decode()
        if len(text.encode()) > MESSAGE_LIMIT:
            raise ValueError(f"termination message of {len(text)} bytes, limit {MESSAGE_LIMIT}")
        return text

    @classmethod
    def decode(cls, text: str) -> "Termination | None":
        """Return the message, or None when the text is not a whole one (cut, empty, foreign)."""
        try:
            body = json.loads(text)
            check = body.pop("check")
            if check != digest(canonical(body))[:8]:
                return None
            return cls.model_validate(body)
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            return None  # a ValidationError is a ValueError; brackets without end recurse


SHOWN: frozenset[str] = frozenset({"onnx", "engine", "metadata", "json", "html"})
"""Outputs whose blobs travel in termination messages."""

__all__ = [
    "MESSAGE_LIMIT",
    "SHOWN",
    "Blob",
    "Input",
    "Request",
    "StepDone",
    "StepError",
    "StepManifest",
    "Termination",
    "UnitManifest",
    "canonical",
    "claim_of",
    "digest",
]
