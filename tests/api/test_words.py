"""What is refused, and the words that say so: one table for Python and for the CRD."""

import json

import pytest

from mpj_operator.api.load import parse

CPU = {"spec.target.backend": "openvino"}


def candidates(*items):
    return {"spec.candidates": list(items)}


INT8 = {"name": "int8", "ptq": {}}
AQ = {"name": "aq", "autoQuantize": {"effectiveBits": [9, 11]}}

# Columns: a sentence, changes to a valid document, the field at fault, the words.
REFUSED = [
    ("a field is missing", {"spec.model.uri": ...}, "spec.model.uri", "is required"),
    (
        "a field is misspelt",
        {"spec.objektive": {}},
        "spec.objektive",
        "unknown field: did you mean objective?",
    ),
    (
        "a field stands in the wrong place",
        {"spec.maxAccuracyDrop": "0.01"},
        "spec.maxAccuracyDrop",
        "unknown field: it belongs to spec.objective",
    ),
    (
        "a field is unknown everywhere",
        {"spec.objective.qqq": 1},
        "spec.objective.qqq",
        "unknown field: known are baseline, dropType, maxAccuracyDrop, metric, minSpeedup, "
        "minimize",
    ),
    (
        "a decimal is not quoted",
        {"spec.objective.maxAccuracyDrop": 0.005},
        "spec.objective.maxAccuracyDrop",
        'must be a quoted decimal: write "0.005" instead of 0.005',
    ),
    (
        "a decimal is not a decimal",
        {"spec.objective.maxAccuracyDrop": "0.5%"},
        "spec.objective.maxAccuracyDrop",
        'must be a decimal number in quotes, such as "0.005"',
    ),
    (
        "a drop is given in per cent",
        {"spec.objective.maxAccuracyDrop": "2"},
        "spec.objective.maxAccuracyDrop",
        "must be between 0 and 1",
    ),
    (
        "a threshold is above one",
        {"spec.validation.iouThreshold": "70"},
        "spec.validation.iouThreshold",
        "must be between 0 and 1",
    ),
    (
        "a percentile is a share",
        candidates({"name": "p", "ptq": {"percentile": "0.99999"}}),
        "spec.candidates[0].ptq.percentile",
        "must be between 50 and 100",
    ),
    (
        "a number is text",
        {"spec.parallelism": "2"},
        "spec.parallelism",
        "must be a whole number",
    ),
    ("a number is too small", {"spec.parallelism": 0}, "spec.parallelism", "must be at least 1"),
    ("a number is too large", {"spec.parallelism": 65}, "spec.parallelism", "must be at most 64"),
    (
        "a size does not fit the strides",
        {"spec.model.inputSize": {"height": 650}},
        "spec.model.inputSize.height",
        "must be a multiple of 32",
    ),
    ("a switch is text", {"spec.suspend": "yes"}, "spec.suspend", "must be true or false"),
    (
        "a string is a number",
        {"spec.target.backend": "tensorrt-rtx", "spec.target.computeCapabilities": [8.9]},
        "spec.target.computeCapabilities[0]",
        'must be a string: write "8.9" instead of 8.9',
    ),
    (
        "a list is one value",
        {"spec.model.classes": "car"},
        "spec.model.classes",
        "must be a list: write [car] instead of car",
    ),
    ("a mapping is text", {"spec.target": "tensorrt"}, "spec.target", "must be a mapping"),
    (
        "a word is unknown",
        {"spec.target.backend": "tflite"},
        "spec.target.backend",
        "must be openvino, onnxruntime, tensorrt or tensorrt-rtx",
    ),
    (
        "a format is unknown",
        candidates({"name": "int4", "ptq": {"format": "int4"}}),
        "spec.candidates[0].ptq.format",
        "must be int8 or fp8",
    ),
    (
        "no candidates are listed",
        candidates(),
        "spec.candidates",
        "must have at least 1 item(s)",
    ),
    (
        "a candidate's name is no DNS label",
        candidates({"name": "Int8_max", "ptq": {}}),
        "spec.candidates[0].name",
        "must be a DNS label: lower-case letters, digits and - inside",
    ),
    (
        "a candidate's name is too long",
        candidates({"name": "a" * 21, "ptq": {}}),
        "spec.candidates[0].name",
        "must be at most 20 characters long",
    ),
    (
        "two candidates have one name",
        candidates(INT8, INT8),
        "spec.candidates[1].name",
        "must be unique",
    ),
    (
        "a candidate has the name of a unit",
        candidates({"name": "final", "ptq": {}}),
        "spec.candidates[0].name",
        "is reserved: prepare, reference, baseline, calibrate, score, final, report and search-* "
        "are names of units",
    ),
    (
        "a candidate has the name of a trial",
        candidates({"name": "search-1", "ptq": {}}),
        "spec.candidates[0].name",
        "is reserved: prepare, reference, baseline, calibrate, score, final, report and search-* "
        "are names of units",
    ),
    (
        "a candidate says nothing",
        candidates({"name": "int8"}),
        "spec.candidates[0]",
        "exactly one of autoCast, ptq, autoQuantize and onnx must be set",
    ),
    (
        "a candidate says two things",
        candidates({"name": "int8", "ptq": {}, "autoCast": {}}),
        "spec.candidates[0]",
        "exactly one of autoCast, ptq, autoQuantize and onnx must be set",
    ),
    (
        "nodes are excluded from a candidate that is not there",
        candidates({"name": "int8", "ptq": {"excludeFrom": "fp16"}}),
        "spec.candidates[0].ptq.excludeFrom",
        "must name an autoCast candidate of this job",
    ),
    (
        "nodes are excluded from a candidate that casts nothing",
        candidates(INT8, {"name": "b", "ptq": {"excludeFrom": "int8"}}),
        "spec.candidates[1].ptq.excludeFrom",
        "must name an autoCast candidate of this job",
    ),
    (
        "a budget is too small",
        candidates({"name": "aq", "autoQuantize": {"effectiveBits": [4]}}),
        "spec.candidates[0].autoQuantize.effectiveBits[0]",
        'must be between 8 and 16, with at most two decimals, such as 11 or "9.5"',
    ),
    (
        "a budget is too large",
        candidates({"name": "aq", "autoQuantize": {"effectiveBits": ["16.5"]}}),
        "spec.candidates[0].autoQuantize.effectiveBits[0]",
        'must be between 8 and 16, with at most two decimals, such as 11 or "9.5"',
    ),
    (
        "a budget's decimal is not quoted",
        candidates({"name": "aq", "autoQuantize": {"effectiveBits": [9.5]}}),
        "spec.candidates[0].autoQuantize.effectiveBits[0]",
        'must be a quoted decimal: write "9.5" instead of 9.5',
    ),
    (
        "budgets are one number",
        candidates({"name": "aq", "autoQuantize": {"effectiveBits": 11}}),
        "spec.candidates[0].autoQuantize.effectiveBits",
        "must be a list: write [11] instead of 11",
    ),
    (
        "a name has no room for its bits",
        candidates({"name": "a" * 15, "autoQuantize": {}}),
        "spec.candidates[0].name",
        "must be at most 14 characters: the bits are appended to it",
    ),
    (
        "budgets come to too many candidates",
        candidates(
            *(
                {"name": f"a{i}", "autoQuantize": {"effectiveBits": list(range(8, 17))}}
                for i in range(8)
            )
        ),
        "spec.candidates",
        "must come to at most 64 after effectiveBits are expanded",
    ),
    (
        "fp8 on a CPU backend",
        CPU | candidates({"name": "fp8", "ptq": {"format": "fp8"}}),
        "spec.candidates[0].ptq.format",
        "must be int8: fp8 needs backend tensorrt or tensorrt-rtx",
    ),
    (
        "fp8 budgets on a CPU backend",
        CPU | candidates({"name": "fp8", "autoQuantize": {"format": "fp8"}}),
        "spec.candidates[0].autoQuantize.format",
        "must be int8: fp8 needs backend tensorrt or tensorrt-rtx",
    ),
    (
        "a search for fp8 on a CPU backend",
        CPU | {"spec.search": {"format": "fp8"}},
        "spec.search.format",
        "must be int8: fp8 needs backend tensorrt or tensorrt-rtx",
    ),
    (
        "bf16 on ONNX Runtime",
        {"spec.target.backend": "onnxruntime"}
        | candidates({"name": "bf16", "autoCast": {"lowPrecisionType": "bf16"}}),
        "spec.candidates[0].autoCast.lowPrecisionType",
        "must be fp16: ONNX Runtime has no bf16 convolutions on CPUs",
    ),
    (
        "fp8 through torch's export",
        candidates({"name": "aq", "autoQuantize": {"format": "fp8", "realization": "torch"}}),
        "spec.candidates[0].autoQuantize.realization",
        "must be onnx for fp8: ModelOpt's torch export quantizes every layer in fp8",
    ),
    (
        "a state dict without its module",
        {"spec.model.uri": "s3://models/yolo.pth"},
        "spec.model.factory",
        "is required for torch models: module:function that builds the nn.Module",
    ),
    (
        "a torch model without its module",
        {"spec.model.format": "torch"},
        "spec.model.factory",
        "is required for torch models: module:function that builds the nn.Module",
    ),
    (
        "a module for an ONNX file",
        {"spec.model.uri": "s3://models/yolo.onnx", "spec.model.factory": "m:f"},
        "spec.model.factory",
        "is for torch models only: remove it, or set format to torch",
    ),
    (
        "a module for an Ultralytics checkpoint",
        {"spec.model.format": "ultralytics", "spec.model.factory": "m:f"},
        "spec.model.factory",
        "is for torch models only: remove it, or set format to torch",
    ),
    (
        "a model's suffix says nothing",
        {"spec.model.uri": "s3://models/yolo"},
        "spec.model.format",
        "must be ultralytics, torch or onnx: the uri ends in none of .pt, .pth, .onnx",
    ),
    (
        "a scheme that is not supported",
        {"spec.model.uri": "https://example.com/yolo.pt"},
        "spec.model.uri",
        "https:// is not supported: copy it to s3://bucket/key or pvc://claim/path",
    ),
    (
        "a local path in the cluster",
        {"spec.model.uri": "models/yolo.pt"},
        "spec.model.uri",
        "must be s3://bucket/key or pvc://claim/path: only `mpj run` reads local files",
    ),
    (
        "a bucket without a name",
        {"spec.storage.uri": "s3:///key"},
        "spec.storage.uri",
        "must be s3://bucket/key or pvc://claim/path",
    ),
    (
        "a key that climbs out",
        {"spec.storage.uri": "s3://artifacts/a/../../b"},
        "spec.storage.uri",
        "must not lead out of its folder with ..",
    ),
    (
        "a claim's path that climbs out",
        {"spec.calibration.uri": "pvc://data/.."},
        "spec.calibration.uri",
        "must not lead out of its folder with ..",
    ),
    (
        "no storage",
        {"spec.storage": ...},
        "spec.storage",
        "is required: where blobs, engines and reports are kept",
    ),
    (
        "a key without KMS",
        {"spec.storage.serverSideEncryption": {"kmsKeyID": "k"}},
        "spec.storage.serverSideEncryption.kmsKeyID",
        "needs algorithm aws:kms",
    ),
    (
        "threads of a GPU",
        {"spec.target.threads": 4},
        "spec.target.threads",
        "is for openvino and onnxruntime only: remove it",
    ),
    (
        "builder settings of a CPU",
        CPU | {"spec.target.builderOptimizationLevel": 3},
        "spec.target.builderOptimizationLevel",
        "is for tensorrt only: remove it",
    ),
    (
        "a workspace on a CPU",
        CPU | {"spec.target.workspaceSize": "4Gi"},
        "spec.target.workspaceSize",
        "is for tensorrt and tensorrt-rtx only: remove it",
    ),
    (
        "compute capabilities of an engine that is tied to its GPU",
        {"spec.target.computeCapabilities": ["8.9"]},
        "spec.target.computeCapabilities",
        "is for tensorrt-rtx only: remove it",
    ),
    (
        "a quantity that is none",
        {"spec.target.workspaceSize": "4 GB"},
        "spec.target.workspaceSize",
        'must be a quantity such as 1, "500m" or "4Gi"',
    ),
    (
        "a quantity that is not quoted",
        {"spec.resources.cpu": {"limits": {"cpu": 0.5}}},
        "spec.resources.cpu.limits.cpu",
        'must be a quoted quantity: write "0.5" instead of 0.5',
    ),
    (
        "a variable of the operator",
        {"spec.podOverrides.env": [{"name": "MPJ_STORE", "value": "x"}]},
        "spec.podOverrides.env[0].name",
        "must not start with MPJ_: those are set by the operator",
    ),
    (
        "a variable with two values",
        {
            "spec.podOverrides.env": [
                {
                    "name": "A",
                    "value": "x",
                    "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}},
                }
            ]
        },
        "spec.podOverrides.env[0]",
        "exactly one of value and valueFrom must be set",
    ),
    (
        "a variable twice",
        {"spec.podOverrides.env": [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]},
        "spec.podOverrides.env[1].name",
        "must be unique",
    ),
    (
        "a label of the operator",
        {"spec.podOverrides.labels": {"mixedprecision.dev/unit": "x"}},
        "spec.podOverrides.labels.mixedprecision.dev/unit",
        "must not start with mixedprecision.dev/: those are set by the operator",
    ),
    (
        "a pod field that is not on the list",
        {"spec.podOverrides.hostNetwork": True},
        "spec.podOverrides.hostNetwork",
        "unknown field: known are affinity, annotations, cacheVolumeClaimName, env, image, "
        "imagePullSecrets, labels, nodeSelector, priorityClassName, runtimeClassName, "
        "serviceAccountName, tolerations",
    ),
]


@pytest.mark.parametrize(
    ("changes", "field", "message"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED]
)
def test_python_names_the_field_and_the_fix(job, changes, field, message):
    got, problems = parse(job(changes))
    assert got is None
    assert [str(p) for p in problems] == [f"{field}: {message}"]


@pytest.mark.parametrize(
    ("changes", "field", "message"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED]
)
def test_the_schema_refuses_the_same(job, api_server, changes, field, message):
    refused = api_server.accept(job(changes))
    assert refused, "the API server would store what the operator cannot read"
    for path, words in refused:
        where = path.removeprefix(".")
        assert where
        assert field.startswith(where) or where.startswith(field)
        # The server has its own words for shapes; a rule of ours says the same in both places.
        assert words.startswith("shape: ") or words == message


def test_a_name_that_expansion_makes_twice_is_refused_before_anything_starts(job):
    clash = {"spec.candidates": [AQ, {"name": "aq-11", "ptq": {}}]}
    _, problems = parse(job(clash))
    assert [str(p) for p in problems] == [
        "spec.candidates[1].name: makes a name twice once effectiveBits are expanded"
    ]
    twice = {"spec.candidates": [{"name": "aq", "autoQuantize": {"effectiveBits": [11, "11.0"]}}]}
    _, problems = parse(job(twice))
    assert [p.field for p in problems] == ["spec.candidates[0].name"]


def test_all_problems_are_told_at_once(job):
    changes = {
        "spec.parallelism": 0,
        "spec.suspend": 1,
        "spec.candidates": [{"name": "A", "ptq": {}}, {"name": "b", "ptq": {"format": "x"}}],
    }
    _, problems = parse(job(changes))
    assert sorted(p.field for p in problems) == [
        "spec.candidates[0].name",
        "spec.candidates[1].ptq.format",
        "spec.parallelism",
        "spec.suspend",
    ]


@pytest.mark.parametrize("changes", [{}, CPU, candidates(INT8, AQ), {"spec.search": {}}])
def test_what_is_valid_passes_both(job, api_server, changes):
    document = job(changes)
    got, problems = parse(document)
    assert problems == []
    assert api_server.accept(document) == []
    assert api_server.accept(json.loads(json.dumps(got.to_json()))) == []
