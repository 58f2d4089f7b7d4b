"""Programs of a Kubernetes control plane, built once into .cache/bin from the modules in go/.

``python -m components`` builds these, and what the tests of a cluster need beside them.

Where KUBEBUILDER_ASSETS names a folder that holds a program, that one is taken.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import binaries
from binaries import Tool

KUBERNETES: Final = "v1.37.2"
ETCD: Final = "v3.7.3"
_MODULES: Final = Path(__file__).parent / "go"
_STAMP: Final = "-X k8s.io/component-base/version.git"
_STAMPS: Final = " ".join(
    f"{_STAMP}{name}={value}"
    for name, value in (("Version", KUBERNETES), ("Major", "1"), ("Minor", "37"))
)


@dataclass(frozen=True)
class Component(Tool):
    """A command of one of the modules in go/, whose go.sum fixes every dependency."""

    module: str = ""

    @property
    def path(self) -> Path:
        assets = os.environ.get("KUBEBUILDER_ASSETS")
        given = Path(assets) / self.name if assets else None
        return given if given and given.exists() else super().path

    @property
    def folder(self) -> Path:
        return _MODULES / self.module

    def build(self, go: str, output: Path) -> list[str]:
        flags = ["-trimpath", "-ldflags", f"-s -w {_STAMPS}"]
        return [go, "build", *flags, "-o", str(output / self.name), self.package]


COMPONENTS: Final = {
    component.name: component
    for component in (
        *(
            Component(name, f"k8s.io/kubernetes/cmd/{name}", KUBERNETES, "kubernetes")
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
        ),
        Component("etcd", "go.etcd.io/etcd/server/v3", ETCD, "etcd"),
    )
}
CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_OTHERS: Final = ("versitygw", "helm")


def component(name: str) -> Path:
    """Return a component's program, or skip the test; where binaries are needed, fail it."""
    return binaries.needed(COMPONENTS[name])


def main() -> None:
    """Build what is missing; ``make test-cluster`` does so before the first test."""
    for tool in (*(COMPONENTS[name] for name in (*CONTROL_PLANE, "kubectl")), *_OTHERS):
        binaries.built(tool)


if __name__ == "__main__":
    main()
