"""A whole job by `mpj run`, as a person runs it: what is there at the end, and the second time."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from tiny_detector import SIZE
from tiny_world import Ran, World

from mpj_operator.api.load import load, validate_all
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.contract.report import Report

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(
    path
    for path in (ROOT / "examples").rglob("*.yaml")
    if "kind: MixedPrecisionJob" in path.read_text()
)


@pytest.fixture
def ran(finished: tuple[World, Ran]) -> Ran:
    return finished[1]


@pytest.fixture
def done(finished: tuple[World, Ran]) -> World:
    return finished[0]


def test_it_ends_complete_and_says_where_everything_is(done: World, ran: Ran):
    assert ran.code == 0, ran.output
    lines = ran.output.splitlines()
    for name in ("report.html", "model.onnx", "engine", "status.yaml"):
        assert (done.out / name).exists()
        assert str(done.out / name) in lines
    best = done.status["best"]
    assert f"{best['name']}: {best['reason']}" in lines
    assert next(line for line in lines if line.startswith("job time: "))
    assert "Traceback" not in ran.output


def test_each_step_is_told_once_and_in_order(ran: Ran):
    told = [line.split()[0] for line in ran.output.splitlines() if " Running " in line]
    units = list(dict.fromkeys(told))
    assert units == ["prepare", "reference", "baseline", "calibrate", "int8", "final", "report"]
    steps = [line.split()[2] for line in ran.output.splitlines() if line.startswith("int8 ")]
    assert steps[:4] == ["ptq", "build", "eval", "benchmark"]


def test_the_status_is_the_resource_that_kubectl_would_show(done: World):
    text = (done.out / "status.yaml").read_text()
    document = yaml.safe_load(text)
    assert list(document) == ["apiVersion", "kind", "metadata", "spec", "status"]
    job = load(text, local=True)
    assert job.to_json() == document
    status = document["status"]
    conditions = {c["type"]: (c["status"], c["observedGeneration"]) for c in status["conditions"]}
    assert conditions == {
        "Accepted": ("True", 1),
        "Complete": ("True", 1),
        "Ready": ("True", 1),
        "Reconciling": ("False", 1),
        "Stalled": ("False", 1),
    }
    assert status["state"] == "Complete"
    assert status["units"] == {"total": 7, "succeeded": 7, "active": 0, "failed": 0}
    assert status["progress"] == "7/7"
    assert status["reference"]["mAP"] == "1.0"
    assert status["startTime"] <= status["completionTime"]
    assert all(unit["manifest"]["sha256"] for unit in status["unitStatuses"])


def test_the_report_has_the_agreed_members_and_the_statuss_figures(done: World):
    data = json.loads((done.out / "report.json").read_text())
    assert data["schemaVersion"] == "1"
    assert data["job"]["name"] == "tiny"
    assert data["job"]["uid"] == done.resource["metadata"]["uid"]
    assert [c["name"] for c in data["candidates"]] == ["int8"]
    assert data["best"]["name"] == done.status["best"]["name"]
    status = Report.model_validate(data).candidates[0].to_json()
    assert status == done.result("int8")
    page = (done.out / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_winners_files_are_those_of_the_status_and_run_in_the_stock_runtime(done: World):
    artifacts = done.status["best"]["artifacts"]
    model = (done.out / "model.onnx").read_bytes()
    assert hashlib.sha256(model).hexdigest() == artifacts["onnx"]["sha256"]
    metadata = ModelMetadata.model_validate_json((done.out / "metadata.json").read_text())
    assert metadata.class_count == 3
    assert [path for path in (done.out / "engine").iterdir() if path.is_file()]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    red = np.zeros((1, 3, SIZE, SIZE), np.float32)
    red[0, 0, 8:16, 16:24] = 0.8
    (y,) = session.run([metadata.output_name], {metadata.input_name: red})
    scores = y[0, 4:]
    assert np.unravel_index(scores.argmax(), scores.shape) == (0, 10)
    np.testing.assert_allclose(y[0, :, 10], [20, 12, 8, 8, 0.8, 0, 0], atol=0.05)


def test_people_find_the_winner_in_the_store_by_the_jobs_name(done: World):
    folder = done.store / "jobs/default/tiny" / done.resource["metadata"]["uid"]
    names = {path.name for path in folder.iterdir()}
    assert names >= {"model.onnx", "engine", "metadata.json", "report.json", "report.html"}
    assert (folder / "model.onnx").read_bytes() == (done.out / "model.onnx").read_bytes()


def test_the_second_run_measures_latency_only(finished: tuple[World, Ran], tmp_path: Path):
    world = finished[0].copy(tmp_path / "another folder, 100% ünlike #1?")
    before, old = world.manifests(), world.resource
    ran = world.run()
    assert ran.code == 0, ran.output
    assert world.manifests() == before
    new = world.resource
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    provenance = json.loads((world.out / "report.json").read_text())["provenance"]
    again = {(step["unit"], step["step"]) for step in provenance if not step["cached"]}
    again.discard(("final", "benchmark"))  # one engine only: the baseline's own measurement
    assert again == {(unit, "benchmark") for unit in ("reference", "baseline", "int8")}
    assert (world.result("int8")["mAP"], world.result("int8")["layers"]) == (
        old["status"]["candidates"][0]["mAP"],
        old["status"]["candidates"][0]["layers"],
    )


def test_every_kind_of_candidate_on_openvino(tmp_path: Path):
    world = World.make(tmp_path)
    world.change(
        target={"backend": "openvino"},
        candidates=[
            {"name": "fp16", "autoCast": {}},
            {"name": "int8", "ptq": {"excludeFrom": "fp16"}},
            {"name": "aq", "autoQuantize": {"effectiveBits": [10]}},
        ],
        search={"maxTrials": 1},
    )
    ran = world.run()
    assert ran.code == 0, ran.output
    results = {c["name"]: c for c in world.status["candidates"]}
    assert set(results) == {"fp16", "int8", "aq-10", "search-1"}
    for result in results.values():
        assert float(result["mAP"]) > 0.9, result
        assert result["state"] in ("Accepted", "Rejected")
        assert float(result["latencyMs"]["p50"]) > 0
    assert results["search-1"]["layers"]["quantized"] == 3  # all but the head
    report = json.loads((world.out / "report.json").read_text())
    assert {one["layer"] for one in report["sensitivity"]} == {
        "body.0",
        "body.1",
        "body.2",
        "head",
    }
    assert onnx.load(world.out / "model.onnx").graph.node
    assert {path.suffix for path in (world.out / "engine").iterdir()} >= {".xml", ".bin"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_valid(path: Path, tmp_path: Path):
    ran = World(tmp_path).mpj("validate", str(path))
    (job, _), *_ = validate_all(path.read_text(), local=True)
    assert (ran.code, ran.output) == (0, f"{path}: {job.metadata.name} is valid\n")
