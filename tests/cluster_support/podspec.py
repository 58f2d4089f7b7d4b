"""A pod's spec with all that it refers to put in: what the local executor runs.

Variables from Secrets and ConfigMaps become values, volumes become folders. A volume of any other
kind than those here is an empty folder.
"""

import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import Ending
from podstatus import ADDRESS

Json = dict[str, Any]
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
Read = Callable[[str, str], Awaitable[Json | None]]
"""Reads a namespace's object by plural and name; None where there is none."""


class NotYet(Exception):  # noqa: N818 - a state
    """Raise when a container cannot be made yet: reason and message as the kubelet writes them."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.reason = "CreateContainerConfigError"


@dataclass(frozen=True)
class Resolver:
    """Resolves the pods of one node."""

    read: Read
    token: Callable[[Json, Json], Awaitable[str]]
    """Asks for a ServiceAccount's token, for a pod and a projected volume's source."""
    claims: Path
    """Holds a folder for each claim: NAMESPACE/CLAIM."""
    server: str
    """URL of the API server, for pods with a ServiceAccount's token."""
    entrypoints: Mapping[str, Sequence[str]]
    """What images run where a pod names no command: by the image's name."""

    async def spec(self, pod: Json, folder: Path, endings: Mapping[str, Ending]) -> Json:
        """Return a pod's spec as the local executor runs it; its volumes lie under ``folder``.

        Args:
            pod: with its metadata.
            folder: where the executor looks for volumes/NAME.
            endings: containers that end as said instead of doing their work.

        Raises:
            NotYet: a Secret or ConfigMap, or a key of one, does not exist.
        """
        made = json.loads(json.dumps(pod["spec"]))
        for volume in made.get("volumes", ()):
            await self._volume(pod, volume, folder / "volumes" / volume["name"])
        for container in (*made.get("initContainers", ()), *made["containers"]):
            variables = [await self._variable(pod, item) for item in container.get("env", ())]
            container["env"] = [item for item in variables if item is not None]
            if _mounts(container, ACCOUNT):
                container["env"].append({"name": "KUBECONFIG", "value": f"{ACCOUNT}/kubeconfig"})
            if "command" not in container:
                container["command"] = self._entrypoint(container["image"])
            if (ending := endings.get(container["name"])) is not None:
                container["command"] = _script(ending)
                container.pop("args", None)
        return dict(made)

    def _entrypoint(self, image: str) -> list[str]:
        if image not in self.entrypoints:
            raise NotYet(f"no command specified, and the node does not know {image}")
        return list(self.entrypoints[image])

    async def _variable(self, pod: Json, item: Json) -> Json | None:
        source = item.get("valueFrom")
        if source is None:
            return item
        if "fieldRef" in source:
            return {"name": item["name"], "value": _field(pod, source["fieldRef"]["fieldPath"])}
        for member, plural in (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")):
            if (reference := source.get(member)) is None:
                continue
            data = await self._data(pod, plural, reference["name"], reference.get("optional"))
            if reference["key"] in data:
                return {"name": item["name"], "value": data[reference["key"]].decode()}
            if not reference.get("optional"):
                raise NotYet(f"couldn't find key {reference['key']} in {plural[:-1]} "
                             f"{pod['metadata']['namespace']}/{reference['name']}")  # fmt: skip
        return None

    async def _data(
        self, pod: Json, plural: str, name: str, optional: bool | None
    ) -> dict[str, bytes]:
        found = await self.read(f"{pod['metadata']['namespace']}/{plural}", name)
        if found is None:
            if optional:
                return {}
            raise NotYet(f'{plural[:-1]} "{name}" not found')
        data = found.get("data", {})
        if plural == "secrets":
            return {key: base64.b64decode(value) for key, value in data.items()}
        return {key: value.encode() for key, value in data.items()}

    async def _volume(self, pod: Json, volume: Json, folder: Path) -> None:
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim is not None:
            _link(folder, self.claims / pod["metadata"]["namespace"] / claim)
            return
        sources = volume.get("projected", {}).get("sources", ()) or [
            {kind: {**source, "name": source.get("secretName") or source.get("name")}}
            for kind in ("secret", "configMap")
            if (source := volume.get(kind)) is not None
        ]
        for source in sources:
            await self._files(pod, source, folder)

    async def _files(self, pod: Json, source: Json, folder: Path) -> None:
        for kind, plural in (("secret", "secrets"), ("configMap", "configmaps")):
            if (wanted := source.get(kind)) is None:
                continue
            data = await self._data(pod, plural, wanted["name"], wanted.get("optional"))
            paths = {i["key"]: i["path"] for i in wanted.get("items", ())} or {k: k for k in data}
            for key, relative in paths.items():
                if key in data:
                    _write(folder / relative, data[key])
        if (wanted := source.get("serviceAccountToken")) is not None:
            token = await self.token(pod, wanted)
            _write(folder / wanted["path"], token.encode())
            _write(folder / "kubeconfig", _kubeconfig(self.server, folder / "ca.crt", token))
        for item in source.get("downwardAPI", {}).get("items", ()):
            _write(folder / item["path"], _field(pod, item["fieldRef"]["fieldPath"]).encode())


def _mounts(container: Json, path: str) -> bool:
    return any(mount["mountPath"] == path for mount in container.get("volumeMounts", ()))


def _kubeconfig(server: str, authority: Path, token: str) -> bytes:
    """Return what stands for a pod's own token, whose path belongs to the computer here."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "pod", "cluster": {"server": server, "certificate-authority": str(authority)}}
        ],
        "users": [{"name": "pod", "user": {"token": token}}],
        "contexts": [{"name": "pod", "context": {"cluster": "pod", "user": "pod"}}],
        "current-context": "pod",
    }
    return json.dumps(config).encode()


def _link(folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(target, target_is_directory=True)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _field(pod: Json, path: str) -> str:
    """Return a field of a pod for the downward API."""
    if path in ("status.podIP", "status.hostIP"):
        return ADDRESS
    if path.endswith("']"):  # metadata.labels['key']
        member, _, key = path.removesuffix("']").partition("['")
        return str(pod["metadata"].get(member.removeprefix("metadata."), {}).get(key, ""))
    value: Any = pod
    for name in path.split("."):
        value = value.get(name, "")
    return str(value)


def _script(ending: Ending) -> list[str]:
    lines = [
        f"sleep {ending.after}" if ending.after else ":",
        'printf %s "$1" > "$MPJ_TERMINATION_LOG"',
        f"exit {ending.code}",
    ]
    return ["sh", "-c", "; ".join(lines), "sh", ending.message]
