"""The chart, installed in a control plane whose node runs the operator's pod as a process."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from binaries import needed
from controlplane import ControlPlane
from rest import path

CHART: Final = Path(__file__).parents[2] / "helm/mixedprecision-operator"
RELEASE: Final = "mpj"
SERVICE: Final = "mpj-mixedprecision-operator"


class HelmError(Exception):
    """Helm refused; the message is what it said."""


@dataclass
class Helm:
    """Helm, bound to a control plane and a namespace."""

    plane: ControlPlane
    namespace: str

    def __call__(self, *words: str, values: Mapping[str, Any] | None = None) -> str:
        """Run a command; values are given as a file of values would be."""
        given = ["--values=-"] if values is not None else []
        place = [f"--kubeconfig={self.plane.kubeconfig}", f"--namespace={self.namespace}"]
        done = subprocess.run(
            [str(needed("helm")), *words, *place, *given],
            input=json.dumps(values) if values is not None else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise HelmError(done.stderr or done.stdout)
        return done.stdout

    def install(self, **values: Any) -> str:
        words = ("install", RELEASE, str(CHART), "--wait", "--timeout=60s")
        return self(*words, values=values)

    def upgrade(self, **values: Any) -> str:
        words = ("upgrade", RELEASE, str(CHART), "--wait", "--timeout=60s")
        return self(*words, values=values)


@contextmanager
def installed(plane: ControlPlane, namespace: str, **values: Any) -> Iterator[Helm]:
    """Install the chart in a restricted namespace for the length of a block."""
    helm = Helm(plane, namespace)
    helm.install(**values)
    try:
        yield helm
    finally:
        helm("uninstall", RELEASE, "--wait", "--timeout=60s")


def logs(plane: ControlPlane, namespace: str, node_folder: Path) -> str:
    """Return what the operator's pods have said so far."""
    pods = plane.api.items(path(("v1", "pods"), namespace))
    files = (node_folder / "logs" / namespace / pod["metadata"]["name"] for pod in pods)
    return "\n".join(log.read_text() for folder in files for log in sorted(folder.glob("*.log")))
