"""The CRD, its bounds and rules, and documents that lie around each of them."""

import copy
from pathlib import Path
from typing import Any

import yaml
from bounds import Documents, Samples, between, bounds, rules
from rest import Json

CRD = yaml.safe_load(
    (Path(__file__).parents[2] / "crds/mixedprecision.dev_mixedprecisionjobs.yaml").read_text()
)
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
BASE = {
    "apiVersion": "mixedprecision.dev/v1alpha1",
    "kind": "MixedPrecisionJob",
    "metadata": {"name": "yolo"},
    "spec": {
        "model": {"uri": "s3://models/yolo.pt"},
        "calibration": {"uri": "s3://data/coco", "format": "COCO"},
        "validation": {"uri": "s3://data/coco", "format": "COCO"},
        "target": {"backend": "tensorrt"},
        "storage": {"uri": "s3://artifacts"},
    },
}
SECRET_KEY = {"name": "a", "key": "a"}
SAMPLES = Samples(
    {
        "": BASE,
        ".spec": BASE["spec"],
        ".spec.candidates[]": {"name": "c", "ptq": {}},
        ".spec.candidates[].onnx": {"uri": "s3://models/c.onnx"},
        ".spec.model": BASE["spec"]["model"],
        ".spec.podOverrides.env[]": {"name": "A", "value": "b"},
        ".spec.podOverrides.env[].valueFrom": {"secretKeyRef": SECRET_KEY},
    }
)
DOCUMENTS = Documents(
    SCHEMA,
    BASE,
    SAMPLES,
    {
        ".spec.candidates[].autoCast": {"name": "c", "autoCast": {}},
        ".spec.candidates[].autoQuantize": {"name": "c", "autoQuantize": {}},
        ".spec.candidates[].onnx": {"name": "c", "onnx": {"uri": "s3://models/c.onnx"}},
        ".spec.podOverrides.env[].valueFrom": {
            "name": "A",
            "valueFrom": {"secretKeyRef": SECRET_KEY},
        },
        ".spec.podOverrides.env[].valueFrom.configMapKeyRef": {
            "name": "A",
            "valueFrom": {"configMapKeyRef": SECRET_KEY},
        },
    },
)
# What else a document needs for a value at a path to be valid: path, value or None, changes.
WORLDS: list[tuple[str, Any, Json]] = [
    (".spec.model.uri", None, {"model.format": "ultralytics"}),
    (".spec.model.format", "torch", {"model.factory": "m:f"}),
    (".spec.target.threads", None, {"target.backend": "openvino"}),
    (".spec.target.computeCapabilities", None, {"target.backend": "tensorrt-rtx"}),
    (".spec.target.computeCapabilities[]", None, {"target.backend": "tensorrt-rtx"}),
    (
        ".spec.storage.serverSideEncryption.kmsKeyID",
        None,
        {"storage.serverSideEncryption.algorithm": "aws:kms"},
    ),
]
ROWS = list(bounds(SCHEMA))
TRANSITIONS = [row for row in rules(SCHEMA) if "oldSelf" in row[1]["rule"]]
RULES = [row for row in rules(SCHEMA) if "oldSelf" not in row[1]["rule"]]
RANGES = [(where, between(rule)) for where, rule in RULES if between(rule) is not None]


def changed(document: Json, changes: Json) -> Json:
    """Return a document with members of its spec set by path; ... removes one."""
    made = copy.deepcopy(document)
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        node = made["spec"]
        for name in parents:
            node = node.setdefault(name, {})
        if value is ...:
            del node[last]
        else:
            node[last] = copy.deepcopy(value)
    return made


def document(where: str, value: Any) -> Json:
    made = DOCUMENTS.with_value(where, value)
    for wanted, needed, changes in WORLDS:
        if where == wanted and needed in (None, value):
            made = changed(made, changes)
    if where.endswith("ptq.excludeFrom"):
        made["spec"]["candidates"].append({"name": value, "autoCast": {}})
    return made
