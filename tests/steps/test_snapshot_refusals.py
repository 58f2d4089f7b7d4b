"""What is said of data sets that cannot be used."""

import pytest
from snapshots import (
    box,
    coco,
    coco_world,
    picture,
    write,
    yolo_world,
)

from mpj_runner.contract.errors import UserError


def sized(world, width, height):
    world["annotations/instances_val.json"]["images"][3] |= {"width": width, "height": height}
    return world


def relabelled(**changes):
    world = coco_world()
    world["annotations/instances_val.json"] |= changes
    return world


BAD = [
    pytest.param({}, {}, r"spec\.validation\.annotations: no labels found", id="empty folder"),
    pytest.param(
        {}, {"role": "calibration"}, r"spec\.calibration: no images", id="empty calibration"
    ),
    pytest.param({}, {"format": "YOLO"}, r"spec\.validation: no images", id="empty YOLO folder"),
    pytest.param(
        coco_world(), {"split": "test"}, r"spec\.validation\.split 'test'.* val$", id="no split"
    ),
    pytest.param(
        yolo_world(),
        {"split": "test", "format": "YOLO"},
        r"spec\.validation\.split 'test'.* val$",
        id="no YOLO split",
    ),
    pytest.param(
        coco_world(),
        {"annotations": "gone.json"},
        r"spec\.validation\.annotations: there is no file 'gone\.json'",
        id="no annotation file",
    ),
    pytest.param(
        coco_world(), {"annotations": "../x.json"}, "leads outside", id="annotations outside"
    ),
    pytest.param(
        coco_world(**{"annotations/instances_val.json": "{]"}),
        {},
        r"spec\.validation\.annotations: instances_val\.json is not a COCO file",
        id="annotations are no JSON",
    ),
    pytest.param(
        coco_world(**{"annotations/instances_val.json": {"pictures": []}}),
        {},
        "not a COCO file .images: Field required",
        id="annotations are some other JSON",
    ),
    pytest.param(
        relabelled(annotations=[{"id": 1, **box(0, 1, bbox=(1, 2, -3, 4))}]),
        {},
        r"not a COCO file .annotations\.0\.bbox\.2",
        id="a negative width",
    ),
    pytest.param(
        relabelled(annotations=[{"id": 1, **box(0, 1)}, {"id": 2, **box(77, 1)}]),
        {},
        r"1 image ids that are not among its images \(77\): add the images",
        id="annotations without their image",
    ),
    pytest.param(
        relabelled(annotations=[{"id": 1, **box(0, 8)}]),
        {},
        r"category ids that are not among its categories \(8\)",
        id="annotations without their category",
    ),
    pytest.param(
        relabelled(images=[{"id": 1, "file_name": "1.png"}] * 2, annotations=[]),
        {},
        "two images of one id",
        id="image ids twice",
    ),
    pytest.param(
        relabelled(images=[{"id": n, "file_name": "1.png"} for n in range(2)], annotations=[]),
        {},
        "lists the image val/1.png twice",
        id="images twice",
    ),
    pytest.param(
        relabelled(
            images=[{"id": n, "file_name": f"{n}.png"} for n in range(4, 9)], annotations=[]
        ),
        {},
        r"3 of 5 images of instances_val\.json are not in the data set \(6\.png, 7\.png, 8\.png\)",
        id="image files missing",
    ),
    pytest.param(
        {"a/x.png": picture(), "b/x.png": picture(1), "labels.json": coco({0: "x.png"})},
        {},
        r"x\.png could be a/x\.png or b/x\.png: give its folder",
        id="a name that could be two files",
    ),
    pytest.param(
        relabelled(annotations=[]), {}, "no labelled objects in 6 images", id="no objects"
    ),
    pytest.param(
        {"images/val/a.png": picture()},
        {"format": "YOLO"},
        "no labelled objects in 1 images.*labels/<split>",
        id="YOLO without label files",
    ),
    pytest.param(
        coco_world(),
        {"classes": ("cat", "dog", "cow")},
        r"categories 'owl' are not among the model's 3 classes \('cat', 'dog', 'cow'\): correct "
        r"spec\.model\.classes, or set spec\.validation\.categoryMapping to ID or Order",
        id="names that differ",
    ),
    pytest.param(
        coco_world(),
        {"classes": None, "count": 2},
        r"the model has 2 classes but the annotations have 3 categories \('cat', 'dog', 'owl'\)",
        id="class count, no names",
    ),
    pytest.param(
        coco_world(),
        {"classes": ("a", "b"), "count": 2, "category_mapping": "Order"},
        "the model has 2 classes but the annotations have 3 categories",
        id="class count by order",
    ),
    pytest.param(
        coco_world(),
        {"classes": ("a", "b"), "count": 2, "category_mapping": "ID"},
        r"categories 'owl' are not among.*categoryMapping to Name or Order",
        id="class count by id",
    ),
    pytest.param(
        yolo_world(**{"labels/val/3.txt": "5 .5 .5 .1 .1"}),
        {"format": "YOLO"},
        "class index 5, but there are 3 classes",
        id="YOLO class index",
    ),
    pytest.param(
        yolo_world(**{"labels/val/3.txt": "1 .5 .5 .1 .1\n1 120 80 20 20"}),
        {"format": "YOLO"},
        r"label file 3\.txt, line 2.*pixels are not normalised: '1 120 80 20 20'",
        id="YOLO rows in pixels",
    ),
    pytest.param(
        yolo_world(**{"labels/val/3.txt": "cat .5 .5 .1 .1"}),
        {"format": "YOLO"},
        r"label file 3\.txt, line 1: needs a class index",
        id="YOLO rows with names",
    ),
    pytest.param(
        yolo_world(**{"data.yaml": "names: [a, b\nval: ]["}),
        {"format": "YOLO"},
        r"data\.yaml is not YAML",
        id="broken data.yaml",
    ),
    pytest.param(
        yolo_world(**{"data.yaml": "val: list.txt", "list.txt": "images/val/9.png"}),
        {"format": "YOLO"},
        r"1 images listed in list\.txt are not in the data set \(9\.png\)",
        id="YOLO list of missing images",
    ),
    pytest.param(
        yolo_world(),
        {"format": "YOLO", "annotations": "x.json"},
        r"spec\.validation\.annotations is for the COCO format",
        id="annotations for YOLO",
    ),
    pytest.param(
        coco_world(**{"val/2.png": b"no image"}),
        {},
        r"1 of \d images cannot be used: val/2\.png: OpenCV cannot decode it: replace them, or set "
        r"spec\.validation\.onCorruptImage to Skip",
        id="a corrupt image",
    ),
    pytest.param(
        {"images/train/2.png": picture()[:50]},
        {"role": "calibration"},
        r"spec\.calibration: 1 of 1 images cannot be used: images/train/2\.png: "
        "the file is cut short: replace or remove them",
        id="a corrupt calibration image",
    ),
    pytest.param(
        sized(coco_world(), 64, 48),
        {},
        r"val/3\.png: it is 32x24 but its annotations are for 64x48",
        id="annotations of another size",
    ),
    pytest.param(
        {f"val/{n}.png": b"" for n in range(6)}
        | {"val.json": coco({n: f"{n}.png" for n in range(6)})},
        {"on_corrupt_image": "Skip"},
        r"6 of 6 images cannot be used.*and 3 more\): replace or remove them$",
        id="nothing left after skipping",
    ),
]


@pytest.mark.parametrize(("files", "params", "words"), BAD)
def test_bad_data_sets_are_refused_in_words(snapshot, source, files, params, words):
    source.mkdir()
    with pytest.raises(UserError, match=words):
        snapshot(write(source, files), **params)
