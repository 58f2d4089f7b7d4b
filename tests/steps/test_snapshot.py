"""Freezing data sets: what is picked, and how it is written."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from snapshots import (
    NAMES,
    box,
    coco,
    coco_world,
    objects_by_image,
    picture,
    write,
    yolo_world,
)


def test_coco_becomes_a_folder_and_an_annotation_file(snapshot, source):
    outcome, images, annotations = snapshot(write(source, coco_world()))
    assert (outcome.images, outcome.objects, outcome.skipped) == (6, 6, 0)
    assert annotations["categories"] == [{"id": i + 1, "name": n} for i, n in enumerate(NAMES)]
    assert {one["id"] for one in annotations["annotations"]} == set(range(1, 7))
    assert sorted(path.name for path in images.iterdir()) == [
        one["file_name"] for one in annotations["images"]
    ]
    for one in annotations["images"]:
        number = int(Path(one["file_name"][7:]).stem)
        assert (images / one["file_name"]).read_bytes() == picture(number)
        assert (one["width"], one["height"]) == (32, 24)
    assert objects_by_image(annotations)["4.png"] == [("dog", (2, 3, 10, 12))]


def test_yolo_becomes_the_same(snapshot, source):
    outcome, _, annotations = snapshot(write(source, yolo_world()), format="YOLO")
    assert (outcome.images, outcome.objects) == (6, 6)
    assert objects_by_image(annotations)["4.png"] == [("dog", (12, 6, 8, 12))]


def test_areas_and_crowds_are_kept(snapshot, source):
    own = [box(0, 1, area=55.5, iscrowd=1), box(0, 2)]
    world = {"a.png": picture(), "labels.json": coco({0: "a.png"}, own)}
    _, _, annotations = snapshot(write(source, world))
    assert [(a["area"], a["iscrowd"]) for a in annotations["annotations"]] == [(55.5, 1), (120, 0)]


@pytest.mark.parametrize("format_", ["COCO", "YOLO"])
def test_calibration_needs_no_labels(snapshot, source, format_):
    files = {f"images/train/{n}.png": picture(n) for n in range(4)}
    files["images/val/9.png"] = picture(9)
    outcome, _, annotations = snapshot(write(source, files), role="calibration", format=format_)
    assert (outcome.images, outcome.objects) == (4, 0)
    assert (annotations["annotations"], annotations["categories"]) == ([], [])


class TestPicking:
    """The draw depends on names and seed only."""

    def names(self, snapshot, source, **params):
        _, _, annotations = snapshot(source, **params)
        return [image["file_name"][7:] for image in annotations["images"]]

    def test_seed_and_count(self, snapshot, source):
        write(source, coco_world())
        first = self.names(snapshot, source, max_images=4, seed=1)
        assert len(first) == 4
        assert first == self.names(snapshot, source, max_images=4, seed=1)
        assert first == self.names(snapshot, source, max_images=6, seed=1)[:4]
        assert first != self.names(snapshot, source, max_images=4, seed=2)

    def test_neither_the_file_system_nor_the_json_order_matters(self, snapshot, tmp_path):
        orders = []
        for attempt in range(2):
            rng = np.random.default_rng(attempt)
            files = list(coco_world().items())
            rng.shuffle(files)
            root = write(tmp_path / f"source-{attempt}", dict(files))
            path = root / "annotations/instances_val.json"
            data = json.loads(path.read_text())
            rng.shuffle(data["images"])
            path.write_text(json.dumps(data))
            orders.append(self.names(snapshot, root))
        assert orders[0] == orders[1]

    def test_equal_names_of_different_folders_stay_apart(self, snapshot, source):
        files = {f"{folder}/x.png": picture(n) for n, folder in enumerate("ab")}
        files["labels.json"] = coco({0: "a/x.png", 1: "b/x.png"}, [box(0, 1), box(1, 2)])
        _, images, annotations = snapshot(write(source, files))
        kinds = {
            (images / image["file_name"]).read_bytes(): one["category_id"]
            for one in annotations["annotations"]
            for image in annotations["images"]
            if image["id"] == one["image_id"]
        }
        assert kinds == {picture(0): 1, picture(1): 2}


def test_a_coco_file_outside_of_the_source(snapshot, source, tmp_path):
    write(source, {"a.png": picture()})
    write(tmp_path, {"labels.json": coco({1: "a.png"})})
    assert snapshot(source, file=tmp_path / "labels.json")[0].objects == 1


MAPPINGS = [
    pytest.param("Name", NAMES, {5: "owl", 9: "cat"}, {5: 3, 9: 1}, id="by name"),
    pytest.param("Name", NAMES, {5: "OWL ", 9: "Cat"}, {5: 3, 9: 1}, id="by name, loosely"),
    pytest.param("Name", NAMES, {5: "owl", 9: "cat", 3: "unused"}, {5: 3, 9: 1}, id="unused ones"),
    pytest.param("Name", None, {5: "a", 9: "b", 7: "c"}, {5: 1, 9: 3}, id="by order, no names"),
    pytest.param("ID", NAMES, {1: "x", 2: "y", 3: "z"}, {1: 1, 3: 3}, id="by id from one"),
    pytest.param("ID", NAMES, {0: "x", 1: "y", 2: "z"}, {0: 1, 2: 3}, id="by id from zero"),
    pytest.param("Order", NAMES, {9: "x", 5: "y", 7: "z"}, {5: 1, 9: 3}, id="by order"),
]


@pytest.mark.parametrize(("mapping", "classes", "categories", "expected"), MAPPINGS)
def test_categories_become_classes(snapshot, source, mapping, classes, categories, expected):
    listed = [{"id": key, "name": name} for key, name in categories.items()]
    own = [box(0, key) for key in expected]
    write(source, {"a.png": picture(), "labels.json": coco({0: "a.png"}, own, listed)})
    _, _, annotations = snapshot(source, classes=classes, category_mapping=mapping)
    assert [a["category_id"] for a in annotations["annotations"]] == list(expected.values())
    names = [category["name"] for category in annotations["categories"]]
    assert names == (list(NAMES) if classes else ["a", "c", "b"])


def test_yolo_classes_follow_their_names(snapshot, source):
    world = yolo_world(**{"data.yaml": "val: images/val\nnames: [owl, cat, dog]\n"})
    _, _, annotations = snapshot(write(source, world), format="YOLO")
    assert objects_by_image(annotations)["1.png"][0][0] == "cat"
    _, _, annotations = snapshot(source, format="YOLO", category_mapping="ID")
    assert objects_by_image(annotations)["1.png"][0][0] == "dog"


def test_yolo_rows_polygons_duplicates_and_edges(snapshot, source):
    rows = "1 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.5 0.5\n\n2 0 0 0.5 0.1 0.25 0.75\n0 1 1 0.5 0.5\n"
    world = {"images/val/a.png": picture(), "labels/val/a.txt": rows}
    _, _, annotations = snapshot(write(source, world), format="YOLO")
    assert sorted(objects_by_image(annotations)["a.png"]) == [
        ("cat", (24, 18, 8, 6)),
        ("dog", (8, 6, 16, 12)),
        ("owl", (0, 0, 16, 18)),
    ]


def test_yolo_sizes_come_from_the_image_as_it_is_decoded(snapshot, source):
    jpeg = cv2.imencode(".jpg", np.zeros((20, 40, 3), np.uint8))[1].tobytes()
    exif = bytes.fromhex("ffe10022457869660000") + bytes.fromhex(
        "49492a0008000000010012010300010000000600000000000000"
    )
    exif = exif[:2] + (len(exif) - 2).to_bytes(2, "big") + exif[4:]
    world = {
        "images/val/a.jpg": jpeg[:2] + exif + jpeg[2:],
        "labels/val/a.txt": "0 0.5 0.5 1 1",
    }
    _, _, annotations = snapshot(write(source, world), format="YOLO")
    assert annotations["annotations"][0]["bbox"] == [0, 0, 20, 40]


def test_corrupt_images_are_skipped_and_counted_when_asked(snapshot, source):
    world = coco_world(**{"val/2.png": picture(2)[:60], "val/4.png": b""})
    outcome, _, annotations = snapshot(write(source, world), on_corrupt_image="Skip")
    assert (outcome.images, outcome.objects, outcome.skipped) == (4, 4, 2)
    assert {image["file_name"][7:] for image in annotations["images"]} == {
        f"{n}.png" for n in (0, 1, 3, 5)
    }


def test_links_to_folders_are_followed_but_not_back_up(snapshot, source):
    write(source, coco_world())
    (source / "again").symlink_to(source / "val")
    (source / "val" / "loop").symlink_to(source)
    assert snapshot(source)[0].images == 6
    assert snapshot(source, role="calibration", split="again")[0].images == 6
