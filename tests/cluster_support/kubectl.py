"""kubectl, as people use it, against a control plane."""

import json
import subprocess
from dataclasses import dataclass
from typing import Final

from components import component
from controlplane import ControlPlane
from rest import Json

_SECONDS: Final = 60


@dataclass(frozen=True)
class Kubectl:
    """kubectl of an administrator, in one namespace."""

    plane: ControlPlane
    namespace: str

    def __call__(self, *words: str, given: Json | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is; ``given`` is an object on its stdin."""
        return subprocess.run(
            self._command(words),
            input=None if given is None else json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command that waits for something."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(self._command(words), text=True, **streams)

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [
            str(component("kubectl")),
            f"--kubeconfig={self.plane.kubeconfig}",
            f"--cache-dir={self.plane.folder / 'kubectl'}",
            f"--namespace={self.namespace}",
            *words,
        ]
