"""From listed candidates to built ones, and every default that follows from the backend."""

import pytest

from mpj_operator.api.load import parse
from mpj_operator.api.target import is_cpu


def spec(job, changes):
    got, problems = parse(job(changes))
    assert problems == []
    return got.spec


@pytest.mark.parametrize(
    ("backend", "names", "remainder", "cpu"),
    [
        ("openvino", ["int8", "int8-entropy", "aq-9", "aq-11"], "fp32", True),
        ("onnxruntime", ["int8", "int8-entropy", "aq-9", "aq-11"], "fp32", True),
        ("tensorrt", ["fp16", "int8", "int8-fp16", "aq-9", "aq-11", "aq-13", "fp8"], "fp16", False),
        (
            "tensorrt-rtx",
            ["fp16", "int8", "int8-fp16", "aq-9", "aq-11", "aq-13", "fp8"],
            "fp16",
            False,
        ),
    ],
)
def test_a_backend_has_a_good_default_set(job, backend, names, remainder, cpu):
    got = spec(job, {"spec.target.backend": backend})
    made = got.expanded()
    assert [c.name for c in made] == names
    assert {q.remainder for c in made if (q := c.ptq or c.auto_quantize)} == {remainder}
    assert got.baseline_precision == remainder
    assert got.on_cpu is is_cpu(backend) is cpu


def test_the_default_set_is_itself_valid(job):
    for backend in ("openvino", "onnxruntime", "tensorrt", "tensorrt-rtx"):
        made = spec(job, {"spec.target.backend": backend}).expanded()
        listed = [{**c.to_json(), "name": f"x{i}"} for i, c in enumerate(made)]
        for item in listed:
            if item.get("ptq", {}).get("excludeFrom"):
                item["ptq"]["excludeFrom"] = "x0"
        spec(job, {"spec.target.backend": backend, "spec.candidates": listed})


def test_budgets_become_candidates_and_defaults_are_filled_in(job):
    listed = [
        {"name": "aq", "autoQuantize": {"effectiveBits": [9, "9.5", "11.0"], "format": "fp8"}},
        {"name": "int8", "ptq": {"remainder": "fp32", "calibrationMethod": "entropy"}},
        {"name": "mine", "onnx": {"uri": "s3://models/qat.onnx"}},
        {"name": "bf16", "autoCast": {"lowPrecisionType": "bf16"}},
    ]
    made = spec(job, {"spec.candidates": listed}).expanded()
    assert [(c.name, c.kind, c.precision, c.bits, c.is_quantized) for c in made] == [
        ("aq-9", "autoQuantize", "fp8", 9.0, True),
        ("aq-9-5", "autoQuantize", "fp8", 9.5, True),
        ("aq-11", "autoQuantize", "fp8", 11.0, True),
        ("int8", "ptq", "int8", None, True),
        ("mine", "onnx", "mixed", None, True),
        ("bf16", "autoCast", "bf16", None, False),
    ]
    assert made[0].auto_quantize.calibration_method == "max"
    assert (made[3].ptq.calibration_method, made[3].ptq.remainder) == ("entropy", "fp32")


@pytest.mark.parametrize(
    ("changes", "format_"),
    [
        ({}, "ultralytics"),
        ({"spec.model.uri": "s3://models/a.onnx"}, "onnx"),
        ({"spec.model.factory": "a.b:build"}, "torch"),
        ({"spec.model.uri": "s3://models/a.pth", "spec.model.factory": "a:b"}, "torch"),
        ({"spec.model.uri": "s3://models/a", "spec.model.format": "onnx"}, "onnx"),
        ({"spec.model.uri": "s3://models/a.pt", "spec.model.format": "onnx"}, "onnx"),
    ],
)
def test_a_models_format_follows_from_what_is_given(job, changes, format_):
    assert spec(job, changes).model.resolved_format == format_


def test_sources_are_reached_as_the_storage_is_unless_they_say_otherwise(job):
    got = spec(
        job,
        {
            "spec.storage": {"uri": "s3://artifacts", "endpointURL": "http://s3.local:9000"},
            "spec.calibration.credentialsSecretRef": {"name": "data"},
        },
    )
    assert got.access(got.model) is got.storage
    assert got.access(got.calibration) is got.calibration
    assert got.calibration.claim is None
    claim = spec(job, {"spec.model.uri": "pvc://models/a/b.pt"}).model.claim
    assert claim == "models"


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({}, {"nvidia.com/gpu": "1"}),
        ({"memory": "8Gi"}, {"memory": "8Gi", "nvidia.com/gpu": "1"}),
        ({"nvidia.com/mig-1g.10gb": 1}, {"nvidia.com/mig-1g.10gb": "1"}),
    ],
)
def test_a_unit_that_needs_a_gpu_asks_for_one(job, limits, wanted):
    got = spec(job, {"spec.resources": {"gpu": {"limits": limits}}})
    assert got.resources_for(accelerator=True).limits == wanted
    assert got.resources_for(accelerator=False).limits == {}


def test_a_workspace_is_counted_in_bytes(job):
    assert spec(job, {"spec.target.workspaceSize": "1.5Gi"}).target.workspace_bytes == 1610612736
    assert spec(job, {"spec.target.workspaceSize": 1000}).target.workspace_bytes == 1000
    assert spec(job, {}).target.workspace_bytes is None


def test_a_specs_digest_changes_with_its_meaning_only(job):
    plain = spec(job, {}).sha256()
    assert spec(job, {"spec.parallelism": 2}).sha256() == plain
    assert spec(job, {"spec.objective": {"maxAccuracyDrop": "0.0050"}}).sha256() == plain
    assert spec(job, {"spec.parallelism": 3}).sha256() != plain
