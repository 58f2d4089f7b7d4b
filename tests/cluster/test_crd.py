"""The generated CRD, judged by the API server itself: every bound and every rule, on both sides."""

import copy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bounds import BOUNDS, Bound, Documents, Samples, between, bounds, rules
from components import component
from controlplane import ControlPlane
from rest import MPJ, Api, ApiError, Json, path

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
INT8 = {"name": "int8", "ptq": {}}
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


class Judge:
    """The API server as a judge of documents; it stores none of them."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    def refusals(self, document: Json) -> list[tuple[str, str]]:
        """Return (field, message) of all that is wrong with a new object, or its status."""
        if "status" in document:
            target, method = path(MPJ, self.namespace, "kept", "status"), "PATCH"
            body, kind = {"status": document["status"]}, "application/merge-patch+json"
        else:
            target, method = path(MPJ, self.namespace), "POST"
            body, kind = document, "application/json"
        return self._causes(method, target, body, kind)

    def refusals_of_change(self, old: Json, new: Json, name: str) -> list[tuple[str, str]]:
        """Return what is wrong with a change of an object; the old one is stored for it."""
        old, new = ({**d, "metadata": {"name": name}} for d in (old, new))
        self.api.create(path(MPJ, self.namespace), old)
        if "status" in old:
            self.api.patch(path(MPJ, self.namespace, name, "status"), {"status": old["status"]})
        stored = self.api.call("GET", path(MPJ, self.namespace, name))
        new["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
        where = path(MPJ, self.namespace, name)
        return self._causes("PUT", where, new, "application/json")

    def _causes(self, method: str, where: str, body: Json, kind: str) -> list[tuple[str, str]]:
        try:
            self.api.call(
                method, where, body, content_type=kind, dryRun="All", fieldValidation="Strict"
            )
        except ApiError as error:
            if error.status != 422:
                raise
            return error.causes
        return []


@pytest.fixture(scope="module")
def judge(plane: ControlPlane) -> Iterator[Judge]:
    name = plane.namespace("judged")
    plane.api.create(path(MPJ, name), {**BASE, "metadata": {"name": "kept"}})
    yield Judge(plane.api, name)
    plane.api.delete(f"/api/v1/namespaces/{name}")


def document(where: str, value: Any) -> Json:
    made = DOCUMENTS.with_value(where, value)
    for wanted, needed, changes in WORLDS:
        if where == wanted and needed in (None, value):
            made = changed(made, changes)
    if where.endswith("ptq.excludeFrom"):
        made["spec"]["candidates"].append({"name": value, "autoCast": {}})
    return made


def field_of(bound: Bound) -> str:
    """Return how the API server names a bound's field."""
    where = bound.path.replace("[]", "[0]").replace("{}", ".k")
    if bound.keyword == "required":
        where += f".{bound.limit}"
    if bound.keyword == "x-kubernetes-list-map-keys":
        where += "[1]"
    return where.removeprefix(".")


@pytest.mark.parametrize("bound", [pytest.param(row, id=str(row)) for row in ROWS])
def test_a_bound_is_where_it_says(judge: Judge, bound: Bound):
    accepted, refused = SAMPLES.pair(bound)
    assert accepted
    assert refused
    for value in accepted:
        assert judge.refusals(document(bound.path, value)) == []
    for value in refused:
        found = judge.refusals(document(bound.path, value))
        words = BOUNDS[bound.keyword]
        assert [m for f, m in found if f == field_of(bound) and words in m], found


def named(message: str, field: str, accepted: list[Json], refused: list[Json]) -> Any:
    return pytest.param(message, field, accepted, refused, id=f"{field} {message}")


def candidate(**members: Any) -> Json:
    return {"candidates": [{"name": "c", **members}]}


BITS = [9, 10, 11, 12, 13, 14, 15, 16]
TOO_MANY = [
    *({"name": f"a{n}", "autoQuantize": {"effectiveBits": BITS}} for n in range(8)),
    {"name": "z", "ptq": {}},
]
CUDA = {"target.backend": "tensorrt"}
CPU = {"target.backend": "openvino"}
PAIRS = [
    named(
        "metadata.name must be a DNS label of at most 63 characters", "<nil>",
        [{"": "a" * 63}], [{"": "a" * 64}, {"": "a.b"}],
    ),
    named("is required: where blobs, engines and reports are kept", "spec.storage",
          [{}], [{"storage": ...}]),
    named(
        "must name an autoCast candidate of this job", "spec.candidates",
        [{"candidates": [{"name": "c", "ptq": {"excludeFrom": "h"}},
                         {"name": "h", "autoCast": {}}]}],
        [candidate(ptq={"excludeFrom": "h"}), candidate(ptq={"excludeFrom": "c"})],
    ),
    named(
        "must be int8: fp8 needs backend tensorrt or tensorrt-rtx", "spec.candidates",
        [CUDA | candidate(ptq={"format": "fp8"}),
         {"target.backend": "tensorrt-rtx"} | candidate(autoQuantize={"format": "fp8"}),
         CPU | candidate(ptq={"format": "int8"})],
        [CPU | candidate(ptq={"format": "fp8"}),
         {"target.backend": "onnxruntime"} | candidate(autoQuantize={"format": "fp8"})],
    ),
    named(
        "must be int8: fp8 needs backend tensorrt or tensorrt-rtx", "spec.search",
        [CUDA | {"search.format": "fp8"}, CPU | {"search.format": "int8"}],
        [CPU | {"search.format": "fp8"}],
    ),
    named(
        "must be fp16: ONNX Runtime has no bf16 convolutions on CPUs", "spec.candidates",
        [{"target.backend": "onnxruntime"} | candidate(autoCast={"lowPrecisionType": "fp16"}),
         CPU | candidate(autoCast={"lowPrecisionType": "bf16"})],
        [{"target.backend": "onnxruntime"} | candidate(autoCast={"lowPrecisionType": "bf16"})],
    ),
    named("must come to at most 64 after effectiveBits are expanded", "spec.candidates",
          [{"candidates": TOO_MANY[:-1]}], [{"candidates": TOO_MANY}]),
    named(
        "is required for torch models: module:function that builds the nn.Module",
        "spec.model.factory",
        [{"model.format": "torch", "model.factory": "m:f"}, {"model.format": "onnx"}],
        [{"model.format": "torch"}, {"model.uri": "s3://models/a.pth"}],
    ),
    named(
        "is for torch models only: remove it, or set format to torch", "spec.model.factory",
        [{"model.factory": "m:f"}, {"model.format": "torch", "model.factory": "m:f"}],
        [{"model.format": "onnx", "model.factory": "m:f"},
         {"model.uri": "s3://models/a.onnx", "model.factory": "m:f"}],
    ),
    named(
        "must be ultralytics, torch or onnx: the uri ends in none of .pt, .pth, .onnx",
        "spec.model.format",
        [{"model.uri": "s3://models/a", "model.format": "onnx"},
         {"model.uri": "s3://models/a.onnx"}],
        [{"model.uri": "s3://models/a"}],
    ),
    *(
        named(
            "must not lead out of its folder with ..", f"spec.{field}.uri",
            [{f"{field}.uri": "s3://bucket/..b/c.pt"}],
            [{f"{field}.uri": "s3://bucket/../c.pt"}, {f"{field}.uri": "s3://bucket/.."}],
        )
        for field in ("model", "calibration", "validation", "storage")
    ),
    named(
        "must not lead out of its folder with ..", "spec.candidates[0].onnx.uri",
        [candidate(onnx={"uri": "s3://bucket/..b/c.onnx"})],
        [candidate(onnx={"uri": "s3://bucket/../c.onnx"})],
    ),
    named("is for openvino and onnxruntime only: remove it", "spec.target.threads",
          [CPU | {"target.threads": 2}, CUDA], [CUDA | {"target.threads": 2}]),
    named(
        "is for tensorrt only: remove it", "spec.target.builderOptimizationLevel",
        [CUDA | {"target.builderOptimizationLevel": 2}],
        [{"target": {"backend": backend, "builderOptimizationLevel": 2}}
         for backend in ("openvino", "onnxruntime", "tensorrt-rtx")],
    ),
    named(
        "is for tensorrt and tensorrt-rtx only: remove it", "spec.target.workspaceSize",
        [CUDA | {"target.workspaceSize": "1Gi"},
         {"target": {"backend": "tensorrt-rtx", "workspaceSize": 1}}],
        [CPU | {"target.workspaceSize": "1Gi"}],
    ),
    named(
        "is for tensorrt-rtx only: remove it", "spec.target.computeCapabilities",
        [{"target": {"backend": "tensorrt-rtx", "computeCapabilities": ["8.9"]}},
         CUDA | {"target.computeCapabilities": []}],
        [CUDA | {"target.computeCapabilities": ["8.9"]}],
    ),
    named(
        "exactly one of autoCast, ptq, autoQuantize and onnx must be set", "spec.candidates[0]",
        [candidate(ptq={}), candidate(autoCast={}), candidate(autoQuantize={})],
        [candidate(), candidate(ptq={}, autoCast={})],
    ),
    named(
        "is reserved: prepare, reference, baseline, calibrate, score, final, report and search-* "
        "are names of units", "spec.candidates[0].name",
        [{"candidates": [{"name": "finale", "ptq": {}}]}],
        [{"candidates": [{"name": name, "ptq": {}}]}
         for name in ("prepare", "reference", "baseline", "calibrate", "score", "final",
                      "report", "search-1")],
    ),
    named(
        "must be at most 14 characters: the bits are appended to it", "spec.candidates[0].name",
        [{"candidates": [{"name": "a" * 14, "autoQuantize": {}}]},
         {"candidates": [{"name": "a" * 20, "ptq": {}}]}],
        [{"candidates": [{"name": "a" * 15, "autoQuantize": {}}]}],
    ),
    named(
        "must be onnx for fp8: ModelOpt's torch export quantizes every layer in fp8",
        "spec.candidates[0].autoQuantize.realization",
        [candidate(autoQuantize={"format": "fp8"}),
         candidate(autoQuantize={"realization": "torch"})],
        [candidate(autoQuantize={"format": "fp8", "realization": "torch"})],
    ),
    named(
        "needs algorithm aws:kms", "spec.storage.serverSideEncryption.kmsKeyID",
        [{"storage.serverSideEncryption": {"algorithm": "aws:kms", "kmsKeyID": "k"}}],
        [{"storage.serverSideEncryption": {"kmsKeyID": "k"}}],
    ),
    *(
        named(
            "must not start with mixedprecision.dev/: those are set by the operator",
            f"spec.podOverrides.{field}",
            [{f"podOverrides.{field}": {"team": "a"}}],
            [{f"podOverrides.{field}": {"mixedprecision.dev/unit": "a"}}],
        )
        for field in ("labels", "annotations")
    ),
    named(
        "exactly one of value and valueFrom must be set", "spec.podOverrides.env[0]",
        [{"podOverrides.env": [{"name": "A", "value": ""}]}],
        [{"podOverrides.env": [{"name": "A"}]},
         {"podOverrides.env": [{"name": "A", "value": "a",
                                "valueFrom": {"secretKeyRef": SECRET_KEY}}]}],
    ),
    named(
        "must not start with MPJ_: those are set by the operator", "spec.podOverrides.env[0].name",
        [{"podOverrides.env": [{"name": "MPJ", "value": "a"}]}],
        [{"podOverrides.env": [{"name": "MPJ_REQUEST", "value": "a"}]}],
    ),
    named(
        "exactly one of secretKeyRef and configMapKeyRef must be set",
        "spec.podOverrides.env[0].valueFrom",
        [{"podOverrides.env": [{"name": "A", "valueFrom": {"configMapKeyRef": SECRET_KEY}}]}],
        [{"podOverrides.env": [{"name": "A", "valueFrom": {}}]},
         {"podOverrides.env": [{"name": "A", "valueFrom": {
             "configMapKeyRef": SECRET_KEY, "secretKeyRef": SECRET_KEY}}]}],
    ),
]  # fmt: skip
RANGES = [(where, between(rule)) for where, rule in RULES if between(rule) is not None]


def specified(changes: Json) -> Json:
    """Return the base document with changes of its spec; "" is its name."""
    changes = dict(changes)
    name = changes.pop("", BASE["metadata"]["name"])
    return {**changed(BASE, changes), "metadata": {"name": name}}


@pytest.mark.parametrize(("message", "field", "accepted", "refused"), PAIRS)
def test_a_rule_tells_right_from_wrong(judge: Judge, message, field, accepted, refused):
    for changes in accepted:
        assert judge.refusals(specified(changes)) == []
    for changes in refused:
        found = judge.refusals(specified(changes))
        assert [m for f, m in found if f == field and message in m], found


@pytest.mark.parametrize(("where", "limits"), RANGES, ids=[where for where, _ in RANGES])
def test_a_decimal_has_its_range(judge: Judge, where, limits):
    low, high = limits
    for value in (f"{low:g}", f"{high:g}", f"{(low + high) / 2:g}"):
        assert judge.refusals(document(where, value)) == []
    for value in (f"{low - 0.1:g}", f"{high}00001" if "." in f"{high}" else f"{high}.1"):
        found = judge.refusals(document(where, value))
        field = where.replace("[]", "[0]").removeprefix(".")
        assert [m for f, m in found if f == field and f"between {low:g} and {high:g}" in m], found


def field_of_rule(where: str, rule: Json) -> str:
    whole = f"{where}{rule.get('fieldPath', '')}".replace("[]", "[0]").removeprefix(".")
    return whole or "<nil>"


def test_no_rule_is_without_a_pair():
    tried = {(row.values[1], row.values[0]) for row in PAIRS}
    ranges = {where for where, _ in RANGES}
    there = {
        (field_of_rule(where, rule), rule["message"])
        for where, rule in RULES
        if where not in ranges
    }
    assert tried == there


# Old spec, new spec; both on top of BASE. What is refused names the field and how to go on.
CHANGES: dict[str, list[tuple[str, Json, Json]]] = {
    f"spec.{field}": [
        ("changed", {f"{field}.{member}": old}, {f"{field}.{member}": new}),
        ("added to", {}, {f"{field}.{member}": new}),
        ("removed from", {f"{field}.{member}": old}, {}),
    ]
    for field, member, old, new in (
        ("model", "classes", ["car"], ["bus"]),
        ("calibration", "seed", 1, 2),
        ("validation", "split", "a", "b"),
        ("target", "batchSize", 2, 4),
    )
}
CHANGES |= {
    "spec.candidates": [
        ("changed", {"candidates": [INT8]}, {"candidates": [{"name": "int8", "autoCast": {}}]}),
        ("added", {}, {"candidates": [INT8]}),
        ("removed", {"candidates": [INT8]}, {}),
    ],
    "spec.search": [
        ("changed", {"search.format": "int8"}, {"search.format": "fp8"}),
        ("lowered", {"search.maxTrials": 3}, {"search.maxTrials": 2}),
        ("added", {}, {"search": {}}),
        ("removed", {"search": {}}, {}),
    ],
    "spec.storage": [
        ("changed", {}, {"storage.uri": "s3://other"}),
        ("added to", {}, {"storage.region": "r"}),
        ("removed from", {"storage.region": "r"}, {}),
    ],
    "spec.resources": [
        ("changed", {"resources.cpu.limits": {"cpu": 1}}, {"resources.cpu.limits": {"cpu": 2}}),
        ("added", {}, {"resources.cpu.limits": {"cpu": 1}}),
        ("removed", {"resources.cpu.limits": {"cpu": 1}}, {}),
    ],
    "spec.podOverrides": [
        ("changed", {"podOverrides.image": "a"}, {"podOverrides.image": "b"}),
        ("added", {}, {"podOverrides.image": "a"}),
        ("removed", {"podOverrides.image": "a"}, {}),
    ],
}
PAUSED = ("spec.storage", "spec.resources", "spec.podOverrides")
STARTED = {"status": {"startTime": "2026-01-01T00:00:00Z"}}
FREE = [
    ("search.maxTrials", {"search.maxTrials": 2}, {"search.maxTrials": 3}),
    ("objective", {}, {"objective.minSpeedup": "1.5"}),
    ("parallelism", {}, {"parallelism": 5}),
    ("suspend", {}, {"suspend": True}),
    ("backoffLimit", {}, {"backoffLimit": 1}),
    ("activeDeadlineSeconds", {}, {"activeDeadlineSeconds": 60}),
    ("unitDeadlineSeconds", {"unitDeadlineSeconds": 60}, {}),
    ("ttlSecondsAfterFinished", {}, {"ttlSecondsAfterFinished": 60}),
]


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        pytest.param(field, old, new, id=f"{field} {what}")
        for field, changes in CHANGES.items()
        for what, old, new in changes
    ],
)
def test_what_a_running_job_stands_on_does_not_change(judge: Judge, request, field, old, new):
    message = next(
        rule["message"] for where, rule in TRANSITIONS if field_of_rule(where, rule) == field
    )
    before, after = changed(BASE, old), changed(BASE, new)
    number = request.node.callspec.indices["field"]
    found = judge.refusals_of_change(before | STARTED, after, f"started-{number}")
    assert [m for f, m in found if f == field and message in m], found
    found = judge.refusals_of_change(before, after, f"new-{number}")
    assert bool(found) != (field in PAUSED), found
    if field in PAUSED:
        paused = changed(after, {"suspend": True})
        assert judge.refusals_of_change(before | STARTED, paused, f"pausing-{number}") == []


@pytest.mark.parametrize(("field", "old", "new"), FREE, ids=[row[0] for row in FREE])
def test_what_a_running_job_is_led_by_may_change(judge: Judge, field, old, new):
    name = field.lower().replace(".", "-")
    before, after = changed(BASE, old), changed(BASE, new)
    assert judge.refusals_of_change(before | STARTED, after, name) == []


def test_each_immutable_field_is_tried():
    assert {field_of_rule(where, rule) for where, rule in TRANSITIONS} == set(CHANGES)


def test_the_definition_is_accepted_as_it_is(plane: ControlPlane):
    where = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + CRD["metadata"]["name"]
    made = plane.api.apply(where, CRD, dryRun="All", fieldValidation="Strict")
    assert made["spec"]["versions"][0]["schema"] == CRD["spec"]["versions"][0]["schema"]
    conditions = {c["type"]: c["status"] for c in made["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


def test_what_is_unknown_is_refused(judge: Judge):
    with pytest.raises(ApiError, match=r'unknown field "spec\.modle"'):
        judge.refusals(changed(BASE, {"modle": {}}))


def test_kubectl_explains_what_a_candidate_is(plane: ControlPlane):
    command = [str(component("kubectl")), "--kubeconfig", str(plane.kubeconfig), "explain"]
    done = subprocess.run([*command, "mpj.spec.candidates"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for words in ("autoCast", "Lower to FP16", "autoQuantize", "ptq", "onnx", "-required-"):
        assert words in done.stdout


def test_apply_twice_changes_nothing(plane: ControlPlane, namespace: str):
    where = path(MPJ, namespace, "yolo")
    first = plane.api.apply(where, BASE)
    assert plane.api.apply(where, BASE) == first
    assert first["metadata"]["generation"] == 1
