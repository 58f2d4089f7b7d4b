"""Each rule of the CRD with documents that it takes and documents that it refuses."""

from typing import Any

import pytest
from crd_worlds import SECRET_KEY
from rest import Json


def candidate(**members: Any) -> Json:
    return {"candidates": [{"name": "c", **members}]}


def named(message: str, field: str, accepted: list[Json], refused: list[Json]) -> Any:
    return pytest.param(message, field, accepted, refused, id=f"{field} {message}")


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
