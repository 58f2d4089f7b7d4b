"""Layouts of data sets that are found without being told."""

import pytest
from snapshots import (
    coco,
    packed,
    picture,
    write,
)

LAYOUTS = [
    pytest.param(
        {"val2017/a.png": picture(), "annotations/instances_val2017.json": coco({7: "a.png"})},
        {"split": "val2017"},
        id="COCO as published",
    ),
    pytest.param(
        {"valid/a.png": picture(), "valid/_annotations.coco.json": coco({"x": "a.png"})},
        {},
        id="COCO with annotations beside the images; text ids",
    ),
    pytest.param(
        {"deep/er/a.png": picture(), "labels.json": coco({1: "er/a.png"})},
        {},
        id="COCO, found by the ending of its path",
    ),
    pytest.param(
        {"images/a.png": picture(), "x/y.json": coco({1: "a.png"}), "z.json": "{}"},
        {"annotations": "x/y.json"},
        id="COCO, annotations named in the spec",
    ),
    pytest.param(
        {"val/a.png": picture(), "test/a.png": picture(1), "val.json": coco({1: "a.png"})},
        {"split": "val"},
        id="COCO, the split decides between equal names",
    ),
    pytest.param(
        {"images/val/a.png": picture(), "labels/val/a.txt": "0 .5 .5 .5 .5"},
        {"format": "YOLO"},
        id="YOLO without data.yaml",
    ),
    pytest.param(
        {
            "valid/images/a.png": picture(),
            "valid/labels/a.txt": "0 .5 .5 .5 .5",
            "data.yaml": "val: ../valid/images\nnames: {0: cat, 1: dog, 2: owl}",
        },
        {"format": "YOLO"},
        id="YOLO as Roboflow writes it",
    ),
    pytest.param(
        {
            "images/all/a.png": picture(),
            "images/all/b.png": picture(1),
            "labels/all/a.txt": "0 .5 .5 .5 .5",
            "mine.txt": "./images/all/a.png\n",
            "data.yaml": "path: /home/somebody/data\ntest: mine.txt\nnames: [cat, dog, owl]",
        },
        {"format": "YOLO", "split": "test"},
        id="YOLO with a list of images",
    ),
    pytest.param(
        {
            "images/one/a.png": picture(),
            "labels/one/a.txt": "0 .5 .5 .5 .5",
            "coco8.yaml": "val: [images/one, images/two]\nnames: [cat, dog, owl]",
        },
        {"format": "YOLO", "split": "val"},
        id="YOLO with a list of folders, as far as they exist",
    ),
]


@pytest.mark.parametrize("how", ["folder", "tar.gz", "zip"])
@pytest.mark.parametrize(("files", "params"), LAYOUTS)
def test_usual_layouts_are_found(snapshot, source, files, params, how):
    write(source, files)
    if how != "folder":
        source = packed(source, how, wrapped=how == "zip")
    outcome, images, annotations = snapshot(source, **params)
    assert (outcome.images, outcome.objects) == (1, 1)
    assert next(images.iterdir()).read_bytes() == picture()
    assert annotations["annotations"][0]["category_id"] == 1
