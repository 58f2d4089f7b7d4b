"""What only running an engine shows: the reference must be sound, a candidate is judged by it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tiny_detector import detector
from tiny_world import World

from mpj_runner.backends.hardware import gpu


@dataclass(frozen=True)
class Row:
    """One reference that cannot be one."""

    id: str
    broken: Callable[[World], object]
    step: str
    words: str


def on_gpu(world: World) -> None:
    world.spec["target"] = {"backend": "tensorrt-rtx"}


REFERENCES = [
    Row(
        "the reference answers NaN",
        lambda w: w.remodel(detector(poison=True)),
        "eval",
        "the FP32 reference answers NaN or infinity on 10 of 10 images: correct "
        "spec.model.preprocess (scale, mean, std), or export the model of spec.model.uri again",
    ),
    Row(
        "the reference finds nothing",
        lambda w: w.remodel(detector(gain=0)),
        "eval",
        "the FP32 reference finds nothing in 10 images: correct spec.model.preprocess (scale, "
        "mean, std, colorOrder), spec.model.decoder or spec.validation.scoreThreshold",
    ),
    Row(
        "the backend needs a GPU",
        on_gpu,
        "eval",
        "spec.target.backend: tensorrt-rtx needs an NVIDIA GPU and none is visible here: run on a "
        "node with one (spec.resources.gpu), or use backend openvino or onnxruntime",
    ),
]


@pytest.mark.parametrize("row", REFERENCES, ids=lambda row: row.id)
def test_without_a_reference_there_is_no_job(world: World, row: Row):
    if row.broken is on_gpu and gpu() is not None:
        pytest.skip("this machine has a GPU")
    row.broken(world)
    ran = world.run()
    assert ran.code == 1
    unit = world.unit("reference")
    assert (unit["state"], unit["reason"], unit["step"]) == ("Failed", "UserError", row.step)
    assert unit["message"] == row.words
    failed = world.condition("Failed")
    assert failed["reason"] == "ReferenceFailed"
    assert failed["message"] == f"reference ({row.step}): {row.words}"
    assert failed["message"] in ran.output
    assert "Traceback" not in ran.output
    assert world.started_units() == {"prepare", "reference"}
    assert world.damage() == []


def test_bad_candidates_are_told_apart_and_disturb_nobody(world: World):
    world.remodel(detector(poison=True), "nan.onnx")
    world.remodel(detector(gain=0), "blind.onnx")
    world.remodel(detector(classes=4), "four.onnx")
    world.remodel(detector(), "cut.onnx")
    world.cut("cut.onnx", 2000)
    names = ("nan", "blind", "four", "cut", "gone")
    world.change(candidates=[{"name": name, "onnx": {"uri": f"{name}.onnx"}} for name in names])
    ran = world.run()
    assert ran.code == 0, ran.output
    told = {name: world.result(name) for name in names}
    assert {name: (one["state"], one["reasons"][0]) for name, one in told.items()} == {
        "nan": ("Rejected", "NaN or infinity in the output of 10 images"),
        "blind": ("Rejected", "no detections at all"),
        "four": (
            "Failed",
            "eval: the graph answers with 4 classes where the model of spec.model.uri has 3: "
            "export it with the same classes",
        ),
        "cut": (
            "Failed",
            "export: the file of spec.candidates[cut].onnx.uri cannot be read as ONNX: it is "
            "empty, truncated or of another format (2000 bytes); upload it again or set "
            "spec.model.format",
        ),
        "gone": (
            "Failed",
            f"export: spec.candidates[gone].onnx.uri: {world.root}/gone.onnx does not exist",
        ),
    }
    for name in ("four", "cut", "gone"):
        assert world.unit(name)["reason"] == "UserError"
    complete = world.condition("Complete")
    assert complete["reason"] == "NoCandidateAccepted"
    assert world.status["best"]["name"] in ("reference", "baseline")
    assert "Traceback" not in ran.output
    for name, one in told.items():
        assert f"{name}: {one['reasons'][0]}" in " ".join(ran.output.split())


@pytest.mark.parametrize(
    ("field", "reason", "words"),
    [
        pytest.param(
            "activeDeadlineSeconds", "DeadlineExceeded",
            "spec.activeDeadlineSeconds was reached: raise it and start the job again; "
            "what is finished is not lost",
            id="of the job",
        ),
        pytest.param(
            "unitDeadlineSeconds", "{}Failed",
            "longer than spec.unitDeadlineSeconds: raise it, or give the unit more resources",
            id="of a unit",
        ),
    ],
)  # fmt: skip
def test_a_deadline_that_is_too_short(world: World, field: str, reason: str, words: str):
    world.change(**{field: 1})
    world.remodel(detector(gain=0.9))  # the export alone takes about a second
    world.seconds = 3  # the first measurement takes longer for sure
    ran = world.run()
    assert ran.code == 1
    failed = world.condition("Failed")
    unit = failed["message"].split(":")[0].split()[0]
    assert unit in ("prepare", "reference", "baseline")
    assert failed["reason"] == reason.format(unit.capitalize())
    assert failed["message"].endswith(words)
    assert world.unit(unit)["state"] == "Failed"
    assert world.started_units() <= {"prepare", "reference", "baseline", "calibrate"}


def test_a_job_whose_candidates_all_fail_fails_and_is_mended_by_its_file(world: World):
    world.change(candidates=[{"name": "mine", "onnx": {"uri": "mine.onnx"}}])
    ran = world.run()
    words = f"mine: export: spec.candidates[mine].onnx.uri: {world.root}/mine.onnx does not exist"
    assert ran.code == 1
    failed = world.condition("Failed")
    assert (failed["reason"], failed["message"]) == ("AllCandidatesFailed", words)
    assert words in ran.output
    assert not (world.out / "report.json").exists()

    before = world.manifests()
    world.remodel(detector(), "mine.onnx")
    ran = world.run()
    assert ran.code == 0, ran.output
    made = world.manifests().keys() - before.keys()
    assert sorted(key.split("/")[0] for key in made) == ["build", "eval", "export"]
    assert world.result("mine")["mAPDrop"]["value"] == "0"
