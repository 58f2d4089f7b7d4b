"""The CustomResourceDefinition, made from the types.

``python -m mpj_operator.api.crd`` writes it to standard output; with the argument ``chart``, as a
template of the chart.
"""

import sys
from typing import Final

import yaml

from mpj_operator.api.job import GROUP, KIND, PLURAL, VERSION, MixedPrecisionJob
from mpj_operator.api.status import JobStatus
from mpj_operator.api.structural import Schema, structural

_HEADER: Final = "# Made by `make generate` from operator/mpj_operator/api. Do not edit.\n"


def _column(
    name: str, path: str, description: str, kind: str = "string", **extra: str | int
) -> Schema:
    return {"name": name, "type": kind, "description": description, "jsonPath": path, **extra}


_COLUMNS: Final = [
    _column("State", ".status.state", "The conditions in one word."),
    _column("Progress", ".status.progress", "Finished units of all units."),
    _column("Best", ".status.best.name", "The winner."),
    _column("mAP", ".status.best.mAP", "The winner's COCO mAP."),
    _column("Drop", ".status.best.drop", "Its drop below the reference."),
    _column("Speedup", ".status.best.speedup", "Its speed-up over the baseline."),
    _column("Backend", ".spec.target.backend", "What runs the engine.", priority=1),
    _column("Hardware", ".status.runtime.gpuProduct", "Where it was measured.", priority=1),
    _column(
        "Queue",
        r".metadata.labels.kueue\.x-k8s\.io/queue-name",
        "The Kueue queue that the units wait in.",
        priority=1,
    ),
    _column(
        "Reason",
        '.status.conditions[?(@.type=="Ready")].reason',
        "Why it is ready, or not yet.",
        priority=1,
    ),
    _column("Age", ".metadata.creationTimestamp", "Time since it was created.", kind="date"),
]


def schema() -> Schema:
    """Return the structural schema of the resource."""
    made = structural(_resource())
    root: Schema = made["properties"]
    for name in ("apiVersion", "kind"):  # The API server knows them; a bound would forbid v1beta1.
        root[name] = {"type": "string", "description": root[name]["description"]}
    root["metadata"] = {"type": "object"}
    # A default in status would be written by the API server into what the operator left out.
    status = structural(JobStatus.model_json_schema(), defaults=False)
    for child in status["properties"].values():
        _own_whole(child)
    root["status"] = status | {"description": root["status"]["description"]}
    return made | {"required": ["spec"]}


def _own_whole(node: Schema) -> None:
    """Have every object below a node owned as one: its writer writes all of its members.

    Otherwise managedFields name each member of each unit and result, which is two thirds as long
    as the status itself, and the API server merges it anew at every write.
    """
    if node["type"] == "object":
        node["x-kubernetes-map-type"] = "atomic"
    elif node["type"] == "array" and node["x-kubernetes-list-type"] == "map":
        _own_whole(node["items"])


def _resource() -> Schema:
    resource = MixedPrecisionJob.model_json_schema()
    resource["properties"]["metadata"] = {"type": "object", "properties": {}}
    return resource


def definition() -> Schema:
    """Return the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["mpj"],
                "categories": ["all", "ml"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _COLUMNS,
                    "schema": {"openAPIV3Schema": schema()},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Write no anchors: values that are equal by chance stay apart."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Never write an alias."""
        return True


def render() -> str:
    """Return the CustomResourceDefinition as YAML."""
    body = yaml.dump(definition(), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return _HEADER + body


_METADATA: Final = """  labels:
    {{- include "mpj.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""


def template() -> str:
    """Return the CustomResourceDefinition as a template of the chart.

    Text, since Helm's own reading and writing of YAML would round large numbers.
    """
    made = render().replace("{{", '{{ "{{" }}')
    head, name, body = made.partition(f"  name: {PLURAL}.{GROUP}\n")
    return f"{{{{- if .Values.crds.enabled }}}}\n{head}{name}{_METADATA}{body}{{{{- end }}}}\n"


if __name__ == "__main__":
    sys.stdout.write(template() if "chart" in sys.argv[1:] else render())
