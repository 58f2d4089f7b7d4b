"""The chart, rendered by the real helm."""

import functools
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from binaries import needed

CHART: Final = Path(__file__).parents[2] / "helm/mixedprecision-operator"
Object = dict[str, Any]
DIGEST: Final = "sha256:" + "a" * 64
STANDBY: Final = {"replicas": 2, "leaderElection": {"enabled": True}}
ALL: Final[dict[str, Any]] = {
    **STANDBY,
    "metrics": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]},
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}}],
    "imagePullSecrets": [{"name": "regcred"}],
    "commonLabels": {"team": "vision"},
    "podAnnotations": {"a": "b"},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "infra", "operator": "Exists"}],
    "serviceAccount": {"annotations": {"a": "b"}},
    "service": {"annotations": {"a": "b"}},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
}
"""Values that turn on all that is optional."""


@dataclass(frozen=True)
class Ran:
    """What a helm command said."""

    code: int
    out: str
    err: str


def helm(*words: str, given: str | None = None) -> Ran:
    """Run helm; skips the test where it can't be built."""
    done = subprocess.run(
        [str(needed("helm")), *words], input=given, capture_output=True, text=True, timeout=60
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def template(values: Mapping[str, Any], *words: str) -> Ran:
    """Run helm template as release ``mpj`` in namespace ``sys``."""
    return _template(json.dumps(values), words)


@functools.cache
def _template(values: str, words: Sequence[str]) -> Ran:
    return helm("template", "mpj", str(CHART), "-n", "sys", "-f", "-", *words, given=values)


def rendered(values: Mapping[str, Any] | None = None) -> list[Object]:
    """Return the objects that values give, tests among them.

    Raises:
        AssertionError: helm refuses; the message is helm's.
    """
    done = template(values or {})
    assert done.code == 0, done.err
    return [x for x in yaml.load_all(done.out, Loader=yaml.CSafeLoader) if x is not None]


def only(objects: Sequence[Object], kind: str, suffix: str = "") -> Object:
    """Return the one object of a kind whose name ends so."""
    (found,) = every(objects, kind, suffix)
    return found


def every(objects: Sequence[Object], kind: str, suffix: str = "") -> list[Object]:
    """Return the objects of a kind whose name ends so."""
    return [x for x in objects if x["kind"] == kind and x["metadata"]["name"].endswith(suffix)]
