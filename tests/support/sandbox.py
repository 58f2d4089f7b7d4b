"""A node without a cluster: pods of a Job value as containers of one image, started by runc.

What their securityContext says is what they get: user, capabilities, a read-only root. There is no
network but a loopback device of their own. An emptyDir and a claim are folders.
"""

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpj_operator.core.pods import LAST_WORDS, TMP

Json = dict[str, Any]
_GROUP: Final = 65532
_SPECIAL: Final = (
    ("/proc", "proc", ()),
    ("/dev", "tmpfs", ("nosuid", "mode=755")),
    ("/dev/shm", "tmpfs", ("nosuid", "nodev", "noexec", "mode=1777", "size=64m")),  # noqa: S108 - a mount
)


@dataclass(frozen=True)
class Ended:
    """What became of a container."""

    code: int
    output: str
    last_words: str
    seconds: float


@dataclass
class Node:
    """Runs containers on one root; nothing that they do changes it."""

    root: Path
    environment: Sequence[str]
    """The image's own, as NAME=value."""
    folder: Path
    """Holds claims/NAME, and the volumes of each pod."""
    ended: dict[str, Ended] = field(default_factory=dict)
    """By pod and container, as in prepare/export."""

    def claim(self, name: str) -> Path:
        """Return the folder that is a claim."""
        return _shared(self.folder / "claims" / name)

    def pod(self, name: str, spec: Mapping[str, Any]) -> Ended:
        """Run a pod's containers in order, to the first that fails; return how the last ended."""
        volumes = {volume["name"]: self._volume(name, volume) for volume in spec["volumes"]}
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            ended = self._run(f"{name}/{container['name']}", spec, container, volumes)
            if ended.code != 0:
                break
        return ended

    def run(self, *words: str) -> Ended:
        """Run a command as a pod of the restricted profile would."""
        security = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False}
        mounts = [{"name": "tmp", "mountPath": TMP}]
        container = {
            "name": "command", "command": words, "securityContext": security,
            "volumeMounts": mounts,
        }  # fmt: skip
        spec = {
            "securityContext": {"runAsUser": _GROUP, "runAsGroup": _GROUP},
            "containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}],
        }  # fmt: skip
        return self.pod(f"command-{len(self.ended)}", spec)

    def _volume(self, pod: str, volume: Mapping[str, Any]) -> Path:
        if "persistentVolumeClaim" in volume:
            return self.claim(volume["persistentVolumeClaim"]["claimName"])
        assert "emptyDir" in volume, volume
        return _shared(self.folder / "pods" / pod / volume["name"])

    def _run(
        self,
        name: str,
        pod: Mapping[str, Any],
        container: Mapping[str, Any],
        volumes: Mapping[str, Path],
    ) -> Ended:
        bundle = self.folder / "containers" / name
        bundle.mkdir(parents=True)
        last_words = bundle / "termination-log"
        last_words.touch()
        last_words.chmod(0o666)
        config = self._config(pod, container)
        config["mounts"] += [
            _bound(mount["mountPath"], volumes[mount["name"]], mount.get("readOnly", False))
            for mount in container.get("volumeMounts", ())
        ]
        config["mounts"].append(_bound(LAST_WORDS, last_words, read_only=False))
        (bundle / "config.json").write_text(json.dumps(config))
        started = time.monotonic()
        done = subprocess.run(
            ["runc", "--root", self.folder / "runc", "run", "--bundle", bundle,
             f"mpj-{os.getpid()}-{len(self.ended)}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=600,
        )  # fmt: skip
        ended = Ended(
            done.returncode, done.stdout, last_words.read_text(), time.monotonic() - started
        )
        self.ended[name] = ended
        return ended

    def _config(self, pod: Mapping[str, Any], container: Mapping[str, Any]) -> Json:
        user, security = pod["securityContext"], container["securityContext"]
        variables = [f"{item['name']}={item['value']}" for item in container.get("env", ())]
        special = [
            {"destination": path, "type": kind, "source": kind, "options": list(options)}
            for path, kind, options in _SPECIAL
        ]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {
                    "uid": user["runAsUser"], "gid": user["runAsGroup"],
                    "additionalGids": [user.get("fsGroup", user["runAsGroup"])],
                },
                "args": list(container["command"]),
                "cwd": "/app",
                "env": [*self.environment, *variables],
                "capabilities": {},
                "noNewPrivileges": not security["allowPrivilegeEscalation"],
            },
            "root": {"path": str(self.root), "readonly": security["readOnlyRootFilesystem"]},
            "mounts": special,
            "linux": {
                "namespaces": [
                    {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")
                ]
            },
        }  # fmt: skip


def _shared(folder: Path) -> Path:
    """Return a folder as fsGroup leaves it: its group may write."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, 0, _GROUP)
    folder.chmod(0o2775)
    return folder


def _bound(where: str, source: Path, read_only: bool) -> Json:
    options = ["rbind", "ro" if read_only else "rw", "nosuid", "nodev"]
    return {"destination": where, "type": "bind", "source": str(source), "options": options}
