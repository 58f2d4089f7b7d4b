"""The report step: what it joins, and the names and types of report.json."""

import json

import pytest

from mpj_runner.contract.files import LayerScore, SensitivityScores
from mpj_runner.contract.messages import Blob, StepManifest, UnitManifest
from mpj_runner.contract.report import (
    Best,
    Environment,
    Objective,
    Report,
    ReportJob,
    ReportParams,
)
from mpj_runner.contract.result import Interval, Latency, Layers, Result
from mpj_runner.steps.report import layer_name, run

SHA = "0f" * 32
PARAMS = ReportParams(
    job=ReportJob(name="yolo11n", namespace="vision", uid="u-1", spec_sha256=SHA),
    environment=Environment(backend="openvino", packages={"openvino": "2026.4.0"}),
    objective=Objective(
        metric="mAP", max_accuracy_drop=0.005, drop_type="Absolute", min_speedup=1.05,
        baseline_precision="fp32",
    ),
    reference=Result(name="reference", state="Accepted", map=0.6434),
    baseline=Result(
        name="baseline", state="Accepted", map=0.6434, map_drop=Interval(value=0, low=0, high=0)
    ),
    candidates=(
        Result(
            name="int8", state="Accepted", reasons=("Fast.",), map=0.6418, map50=0.81,
            map_drop=Interval(value=0.0016, low=-0.0004, high=0.0036),
            latency_ms=Latency(p50=14.2, p90=15.0, p99=17.0), throughput_per_second=70.4,
            speedup=Interval(value=1.7, low=1.67, high=1.73), speedup_vs_reference=1.7,
            size_bytes=2_980_000, layers=Layers(total=88, quantized=81),
        ),
    ),
    best=Best(name="int8", reason="The fastest accepted engine."),
)  # fmt: skip


def written(tmp_path, params=PARAMS, inputs=None):
    result = run(params, inputs or {}, tmp_path)
    assert result.outcome.candidates == len(params.candidates)
    return json.loads(result.files["json"].read_text()), result.files["html"].read_text()


def test_the_json_has_the_agreed_names_and_numbers_are_numbers(tmp_path):
    data, _ = written(tmp_path)
    assert data["schemaVersion"] == "1"
    assert data["job"] == {
        "name": "yolo11n", "namespace": "vision", "uid": "u-1", "specSha256": SHA,
    }  # fmt: skip
    assert data["pareto"] == ["int8", "baseline"]
    assert data["best"] == {"name": "int8", "reason": "The fastest accepted engine."}
    assert data["candidates"] == [
        {
            "name": "int8", "state": "Accepted", "reasons": ["Fast."], "mAP": 0.6418, "mAP50": 0.81,
            "mAPDrop": {"value": 0.0016, "low": -0.0004, "high": 0.0036},
            "latencyMs": {"p50": 14.2, "p90": 15.0, "p99": 17.0}, "throughputPerSecond": 70.4,
            "speedup": {"value": 1.7, "low": 1.67, "high": 1.73}, "speedupVsReference": 1.7,
            "sizeBytes": 2980000, "layers": {"total": 88, "quantized": 81},
        }
    ]  # fmt: skip
    assert Report.model_validate(data).to_json(numbers=True) == data


def test_the_page_tells_the_verdict(tmp_path):
    _, html = written(tmp_path)
    assert "int8 runs 1.70\u00d7 as fast as the FP32 baseline" in html


def test_scores_and_manifests_are_joined(tmp_path):
    scores = tmp_path / "scores.json"
    scores.write_text(
        json.dumps(
            SensitivityScores(
                format="int8",
                method="gradient",
                layers=(
                    LayerScore(layer="/model.22/cv2.0/cv2.0.2/Conv", score=3.5, cost=64),
                    LayerScore(layer="/model.0/conv/Conv", score=1.0, cost=432),
                ),
            ).to_json()
        )
    )
    step = StepManifest(
        name="ptq", step="ptq", key=SHA, params={}, inputs={"model": SHA},
        outputs={"model": Blob(sha256=SHA, size_bytes=5)}, outcome={}, runner_version="0.1.0",
        packages={"onnx": "1.23.0"}, seconds=1.5,
    )  # fmt: skip
    build = step.model_copy(update={"name": "build", "step": "build"})
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(UnitManifest(steps=(step, build), cached=("ptq",)).to_json()))
    data, html = written(
        tmp_path, inputs={"scores": scores, "manifest-int8": manifest, "unrelated": manifest}
    )
    assert data["sensitivity"] == [
        {"layer": "model.22.cv2.0.2", "node": "/model.22/cv2.0/cv2.0.2/Conv", "score": 3.5},
        {"layer": "model.0.conv", "node": "/model.0/conv/Conv", "score": 1.0},
    ]
    assert [(p["unit"], p["step"], p["cached"], p["seconds"]) for p in data["provenance"]] == [
        ("int8", "ptq", True, 1.5),
        ("int8", "build", False, 1.5),
    ]
    assert data["provenance"][0]["outputs"] == {"model": SHA}
    assert data["environment"]["packages"] == {"onnx": "1.23.0", "openvino": "2026.4.0"}
    assert "model.22.cv2.0.2" in html


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("/model.22/cv2.0/cv2.0.2/Conv", "model.22.cv2.0.2"),
        ("/model.23/cv3.1/cv3.1.0/cv3.1.0.0/conv/Conv", "model.23.cv3.1.0.0.conv"),
        ("/model.10/m/m.0/attn/qkv/conv/Conv", "model.10.m.0.attn.qkv.conv"),
        ("/Conv", "/Conv"),
        ("Conv_12", "Conv_12"),
        ("", ""),
    ],
)
def test_layers_have_the_names_that_their_authors_gave(node, name):
    assert layer_name(node) == name


def test_a_report_that_ran_out_of_time_says_so(tmp_path):
    data, html = written(tmp_path, PARAMS.model_copy(update={"deadline_exceeded": True}))
    assert data["deadlineExceeded"] is True
    assert "The deadline came before every candidate was judged." in html
