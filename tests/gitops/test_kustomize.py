"""The kustomizations for people: they render, and what they render is a valid job."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from components import component

from mpj_operator.api.load import parse

GITOPS: Final = Path(__file__).parents[2] / "deploy/gitops"
KEY: Final = "resource.customizations.health.mixedprecision.dev_MixedPrecisionJob"


@pytest.fixture(scope="module")
def kubectl() -> str:
    """Return a kubectl of the machine, else the one that the cluster tests build."""
    return shutil.which("kubectl") or str(component("kubectl"))


def rendered(kubectl: str, folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_the_overlay_renders_a_valid_job(kubectl: str):
    (body,) = rendered(kubectl, GITOPS / "kustomize/overlays/production")
    job, problems = parse(body)
    assert job is not None, problems
    assert job.metadata.namespace == "vision"
    assert job.metadata.labels == {"kueue.x-k8s.io/queue-name": "measurements"}
    assert job.spec.resources.cpu.limits == {"cpu": "8", "memory": "16Gi"}
    assert job.spec.pod_overrides.node_selector == {"node.example.com/measurements": "true"}
    assert job.spec.ttl_seconds_after_finished == 86400


@pytest.mark.parametrize(
    ("metadata", "own", "kustomization"),
    [
        pytest.param(
            {"namespace": "argocd"}, {"url": "https://cd.example.com"}, {}, id="its own namespace"
        ),
        pytest.param(
            {}, {"url": "https://cd.example.com"}, {"namespace": "argocd"},
            id="the kustomization's namespace",
        ),
        pytest.param(
            {"labels": {"app.kubernetes.io/part-of": "argocd"}}, None, {"namespace": "argocd"},
            id="no data, as upstream's",
        ),
    ],
)  # fmt: skip
def test_the_component_adds_the_health_script_to_argo_cds_settings(
    metadata: dict[str, Any],
    own: dict[str, str] | None,
    kustomization: dict[str, Any],
    kubectl: str,
    tmp_path: Path,
):
    shutil.copytree(GITOPS / "argocd", tmp_path / "mpj")
    (tmp_path / "argocd").mkdir()
    settings = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", **metadata},
    }  # fmt: skip
    (tmp_path / "argocd/cm.yaml").write_text(
        yaml.safe_dump(settings if own is None else {**settings, "data": own})
    )
    (tmp_path / "argocd/kustomization.yaml").write_text(
        yaml.safe_dump({"resources": ["cm.yaml"], "components": ["../mpj"], **kustomization})
    )

    (found,) = rendered(kubectl, tmp_path / "argocd")

    script = GITOPS / "argocd/resource_customizations/mixedprecision.dev/MixedPrecisionJob"
    assert found == {
        **settings,
        "metadata": {**settings["metadata"], "namespace": "argocd"},
        "data": {**(own or {}), KEY: (script / "health.lua").read_text()},
    }
