"""Manifests for people, judged by the API server of a namespace with the restricted profile."""

from pathlib import Path
from typing import Final

import pytest
import yaml
from controlplane import ControlPlane
from rest import ApiError, path

MANIFEST: Final = yaml.safe_load((Path(__file__).parents[2] / "deploy/gc/cronjob.yaml").read_text())
POD: Final = MANIFEST["spec"]["jobTemplate"]["spec"]["template"]["spec"]
STRICTLY: Final = {"dryRun": "All", "fieldValidation": "Strict"}


def test_the_cronjob_is_accepted_field_by_field(plane: ControlPlane, namespace: str):
    plane.api.call("POST", path(("batch/v1", "cronjobs"), namespace), MANIFEST, **STRICTLY)


def test_its_pods_keep_the_restricted_profile(plane: ControlPlane, namespace: str):
    """Of a CronJob the profile only warns; what it enforces are pods."""
    pods = path(("v1", "pods"), namespace)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gc"}, "spec": POD}
    plane.api.call("POST", pods, pod, **STRICTLY)
    weaker = {**POD, "securityContext": {**POD["securityContext"], "runAsNonRoot": False}}
    with pytest.raises(ApiError, match="runAsNonRoot"):
        plane.api.call("POST", pods, {**pod, "spec": weaker}, **STRICTLY)
