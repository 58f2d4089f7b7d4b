"""Bad input that only the files show: the first unit fails in words, and nothing is lost."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from tiny_detector import detector
from tiny_factory import write_tiny
from tiny_world import Ran, World

from mpj_operator.api.load import load


@dataclass(frozen=True)
class Row:
    """One way to get it wrong."""

    id: str
    broken: Callable[[World], object]
    step: str
    """The container that finds it."""
    words: str
    """The whole message; ROOT stands for the world's folder."""


def with_operator(name: str) -> onnx.ModelProto:
    """Return the detector with another operator where its head was."""
    model = detector()
    next(node for node in model.graph.node if node.name == "/head/Conv").op_type = name
    return model


def with_selection() -> onnx.ModelProto:
    """Return the detector with an output of those cells only that hold something: (1, 7, n)."""
    model = detector()
    graph = model.graph
    del graph.node[-1]
    graph.node.extend(
        [
            helper.make_node(
                "ReduceMax", ["scores"], ["best"], "/some/Max", axes=[0, 1], keepdims=0
            ),
            helper.make_node("NonZero", ["best"], ["where"], "/some/NonZero"),
            helper.make_node("Squeeze", ["where", "first"], ["index"], "/some/Squeeze"),
            helper.make_node("Gather", ["found", "index"], ["output0"], "/some/Gather", axis=2),
        ]
    )
    graph.initializer.append(numpy_helper.from_array(torch.tensor([0]).numpy(), "first"))
    graph.output[0].type.tensor_type.shape.dim[2].dim_param = "n"
    return model


def as_torch(world: World, save: Callable[[Path], object]) -> None:
    """Make the model one of PyTorch, whose file a function may write over."""
    path = write_tiny(world.root)
    world.change(model={"uri": path.name, "format": "torch", "factory": "tiny:build"})
    save(path)


def without_blue(data: dict) -> None:
    data["categories"].pop()
    data["annotations"] = [a for a in data["annotations"] if a["category_id"] < 3]


GRAPH = "the ONNX graph of spec.model.uri"
MODEL = [
    Row(
        "the model is missing",
        lambda w: (w.root / "model.onnx").unlink(),
        "fetch",
        "spec.model.uri: ROOT/model.onnx does not exist",
    ),
    Row(
        "the model is empty",
        lambda w: w.cut("model.onnx", 0),
        "fetch",
        "spec.model.uri: ROOT/model.onnx is empty",
    ),
    Row(
        "the model is truncated",
        lambda w: w.cut("model.onnx", 2000),
        "export",
        "the file of spec.model.uri cannot be read as ONNX: it is empty, truncated or of another "
        "format (2000 bytes); upload it again or set spec.model.format",
    ),
    Row(
        "an operator is unknown",
        lambda w: w.remodel(with_operator("ConvOfMine")),
        "export",
        f'{GRAPH} has operators that are not part of ONNX: ai.onnx:ConvOfMine (node "/head/Conv"); '
        "export the model without plugins and custom operators (for instance without NMS in the "
        "graph)",
    ),
    Row(
        "a dynamic size is fixed to one that the graph cannot take",
        lambda w: (
            w.remodel(detector(size="side")),
            w.change(model={"inputSize": {"height": 96, "width": 96}}),
        ),
        "export",
        "ONNX Runtime cannot run the graph of spec.model.uri on an input of 1x3x96x96: … if sizes "
        "of another input are baked into the graph, export it again at spec.model.inputSize and "
        "spec.target.batchSize",
    ),
    Row(
        "the output's size depends on the image",
        lambda w: w.remodel(with_selection()),
        "export",
        f"the output output0 of {GRAPH} changes its size with the image ([1, 7, 64] and "
        "[1, 7, 0]), and engines here are static: export the model without NMS and other "
        "selections in the graph",
    ),
    Row(
        "the spec names fewer classes than the model has",
        lambda w: w.change(model={"classes": ["red", "green"]}),
        "export",
        "spec.model.classes has 2 names, the model's output [1, 7, 64] has 3 classes: list them "
        "all, in the model's order, or leave the field out",
    ),
    Row(
        "the state dict is a pickle of a module",
        lambda w: as_torch(w, lambda path: torch.save(torch.nn.Conv2d(3, 3, 1), path)),
        "export",
        "the file of spec.model.uri is a pickle of Python objects where a state dict was asked "
        "for: save it with torch.save(model.state_dict(), path), or set spec.model.format: "
        "ultralytics if it is an Ultralytics checkpoint",
    ),
    Row(
        "the state dict is truncated",
        lambda w: as_torch(w, lambda path: w.cut(path.name, 3000)),
        "export",
        "the file of spec.model.uri cannot be read as a state dict: it is truncated or no PyTorch "
        "file (3000 bytes; … upload it again",
    ),
]
DATA = [
    Row(
        "the annotations have another number of classes",
        lambda w: w.relabel(without_blue),
        "snapshot-validation",
        "spec.validation: the model has 3 classes but the annotations have 2 categories ('red', "
        "'green'): name the model's classes in spec.model.classes and set "
        "spec.validation.categoryMapping to Name or ID, or correct the annotations",
    ),
    Row(
        "annotations have ids of images that are not listed",
        lambda w: w.relabel(lambda data: data["annotations"][0].update(image_id=1001)),
        "snapshot-validation",
        "spec.validation.annotations: instances_val.json has annotations of 1 image ids that are "
        "not among its images (1001): add the images or remove the annotations",
    ),
    Row(
        "annotations have ids of categories that are not listed",
        lambda w: w.relabel(lambda data: data["annotations"][0].update(category_id=9)),
        "snapshot-validation",
        "spec.validation.annotations: instances_val.json has annotations of category ids that are "
        "not among its categories (9): add the categories or remove the annotations",
    ),
    Row(
        "a listed image is missing",
        lambda w: (w.root / "data/images/val/001.png").unlink(),
        "snapshot-validation",
        "spec.validation: 1 of 10 images of instances_val.json are not in the data set (001.png): "
        "upload them or remove them from the annotations",
    ),
    Row(
        "the annotations are truncated",
        lambda w: w.cut("data/annotations/instances_val.json", 300),
        "snapshot-validation",
        "spec.validation.annotations: instances_val.json is not a COCO file (file: Invalid JSON: "
        "EOF while parsing a string at line 1 column 300): it needs images, annotations with "
        "boxes, and categories",
    ),
    Row(
        "nothing is labelled",
        lambda w: w.relabel(lambda data: data["annotations"].clear()),
        "snapshot-validation",
        "spec.validation: no labelled objects in 10 images; validation needs labels: YOLO reads "
        "labels/<split>/<image>.txt beside images/<split>, COCO an annotation file",
    ),
    Row(
        "there are no images to calibrate with",
        lambda w: [path.unlink() for path in (w.root / "data/images/train").iterdir()],
        "snapshot-calibration",
        "spec.calibration: no images in the data set: correct the uri or the split",
    ),
    Row(
        "there is no folder to calibrate with",
        lambda w: w.change(calibration={"uri": "nowhere"}),
        "snapshot-calibration",
        "spec.calibration.uri: ROOT/nowhere does not exist",
    ),
    Row(
        "there is no such split",
        lambda w: w.change(calibration={"split": "trian"}),
        "snapshot-calibration",
        "spec.calibration.split 'trian' does not exist: choose one of train, val",
    ),
    Row(
        "an image is corrupt",
        lambda w: w.cut("data/images/val/002.png", 90),
        "snapshot-validation",
        "spec.validation: 1 of 10 images cannot be used: images/val/002.png: the file is cut "
        "short: replace them, or set spec.validation.onCorruptImage to Skip",
    ),
    Row(
        "a calibration image is corrupt",
        lambda w: w.cut("data/images/train/002.png", 90),
        "snapshot-calibration",
        "spec.calibration: 1 of 6 images cannot be used: images/train/002.png: the file is cut "
        "short: replace or remove them",
    ),
    Row(
        "every image is corrupt, though corrupt ones are skipped",
        lambda w: (
            [w.cut(f"data/images/val/{number:03d}.png", 90) for number in range(1, 11)],
            w.change(validation={"onCorruptImage": "Skip", "maxImages": 2}),
        ),
        "snapshot-validation",
        "spec.validation: 2 of 2 images cannot be used: … replace or remove them",
    ),
    Row(
        "the archive is none",
        lambda w: (
            (w.root / "data.zip").write_bytes(b"PK\3\4nonsense"),
            w.change(validation={"uri": "data.zip"}),
        ),
        "snapshot-validation",
        "spec.validation.uri is neither a folder nor a whole tar or zip file (… upload it again",
    ),
]


def says(message: str, words: str) -> bool:
    """Tell whether a message is as expected; an ellipsis stands for another program's words."""
    start, _, end = words.partition("…")
    return message == words or (
        "…" in words and message.startswith(start) and message.endswith(end)
    )


@pytest.mark.parametrize("row", [*MODEL, *DATA], ids=lambda row: row.id)
def test_the_job_fails_in_words_and_loses_nothing(world: World, row: Row):
    before = world.results()
    row.broken(world)
    ran = world.run()
    words = row.words.replace("ROOT", str(world.root))
    assert ran.code == 1

    prepare = world.unit("prepare")
    assert (prepare["state"], prepare["reason"], prepare["step"]) == (
        "Failed", "UserError", row.step,
    )  # fmt: skip
    assert says(prepare["message"], words), prepare["message"]
    failed = world.condition("Failed")
    assert (failed["status"], failed["reason"]) == ("True", "PrepareFailed")
    assert failed["message"] == f"prepare ({row.step}): {prepare['message']}"
    assert world.condition("Complete") is None
    assert world.started_units() == {"prepare"}
    assert {u["state"] for u in world.status["unitStatuses"]} <= {"Failed", "Pending"}

    assert "Failed: PrepareFailed" in ran.output
    assert failed["message"] in ran.output
    assert "Traceback" not in ran.output

    load((world.out / "status.yaml").read_text(), local=True)
    assert not (world.out / "report.json").exists()
    assert not (world.out / "work").exists()
    assert world.damage() == []
    assert before.items() <= world.results().items()


def test_a_mended_job_goes_on_with_what_is_there(world: World, finished: tuple[World, Ran]):
    world.cut("data/images/val/002.png", 90)
    assert world.run().code == 1
    before = world.manifests()
    name = "data/images/val/002.png"
    shutil.copyfile(finished[0].root / name, world.root / name)
    ran = world.run()
    assert ran.code == 0, ran.output
    assert world.condition("Failed") is None
    assert world.manifests() == before


def test_a_corrupt_image_is_left_out_where_the_spec_says_so(world: World):
    world.cut("data/images/val/002.png", 90)
    world.change(validation={"onCorruptImage": "Skip"})
    ran = world.run()
    assert ran.code == 0, ran.output
    log = (world.out / "logs/prepare/snapshot-validation.log").read_text()
    assert "left out: images/val/002.png: the file is cut short" in log
    words = "Images of spec.validation that cannot be read and were left out: 1."
    assert words in (world.out / "report.json").read_text()
    assert words in (world.out / "report.html").read_text()
