"""The demo's data set: sound, small, and what its generator makes."""

import json

import cv2
import numpy as np
import pytest

SPLITS = {"calibration": 128, "validation": 400}


@pytest.fixture(params=SPLITS)
def split(request):
    return request.param


def read(demo, split):
    return json.loads((demo / f"data/annotations/instances_{split}.json").read_text())


def test_every_image_opens_in_the_size_that_is_stated(demo, split):
    coco = read(demo, split)
    assert len(coco["images"]) == SPLITS[split]
    listed = {entry["file_name"] for entry in coco["images"]}
    assert listed == {path.name for path in (demo / "data" / split).iterdir()}
    for entry in coco["images"]:
        image = cv2.imread(str(demo / "data" / split / entry["file_name"]))
        assert image.shape == (entry["height"], entry["width"], 3)


def test_annotations_are_sound(demo, split):
    import scenes

    coco = read(demo, split)
    sizes = {entry["id"]: (entry["width"], entry["height"]) for entry in coco["images"]}
    ids = [a["id"] for a in coco["annotations"]]
    assert len(sizes) == len(coco["images"])
    assert len(set(ids)) == len(ids)
    assert [c["name"] for c in coco["categories"]] == list(scenes.NAMES)
    for a in coco["annotations"]:
        left, top, width, height = a["bbox"]
        assert left >= 0
        assert top >= 0
        assert width >= 3
        assert height >= 5
        assert left + width <= sizes[a["image_id"]][0]
        assert top + height <= sizes[a["image_id"]][1]
        assert a["area"] == width * height


def test_validation_has_enough_of_everything(demo):
    annotations = read(demo, "validation")["annotations"]
    by_class = np.bincount([a["category_id"] for a in annotations], minlength=11)[1:]
    assert by_class.min() >= 80
    sides = np.sqrt([a["area"] for a in annotations])
    assert (sides < 16).sum() >= 200
    assert (sides > 48).sum() >= 200


def test_the_whole_set_is_small(demo):
    files = [p for folder in ("data", "photographs") for p in (demo / folder).rglob("*.*")]
    assert sum(p.stat().st_size for p in files) <= 10_000_000


def test_the_generator_gives_the_same_bytes_again(tmp_path):
    import make_data

    for name in ("a", "b"):
        make_data.write_split(tmp_path / name, "validation", 4, seed=7)
    first, second = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}
        for name in ("a", "b")
    )
    assert len(first) == 5
    assert first == second


def test_another_seed_is_another_set(tmp_path):
    import scenes

    material = scenes.load_material("validation")
    one, other = (scenes.draw(material, "validation", 0, seed) for seed in (1, 2))
    assert one.image.shape != other.image.shape or not np.array_equal(one.image, other.image)


def test_what_is_committed_is_what_the_generator_draws(demo, split):
    """Up to the last bits of resizing, which differ from processor to processor."""
    import make_data
    import scenes

    coco = read(demo, split)
    material = scenes.load_material(split)
    for index in (0, 1, SPLITS[split] - 1):
        entry = coco["images"][index]
        scene = scenes.draw(material, split, index)
        image = cv2.imread(str(demo / "data" / split / entry["file_name"]))
        assert image.shape == scene.image.shape
        assert np.abs(image.astype(int) - scene.image).mean() < 8  # JPEG's own loss
        drawn = [r["bbox"] for r in make_data.records(scene, entry["id"], 1)]
        kept = [a["bbox"] for a in coco["annotations"] if a["image_id"] == entry["id"]]
        np.testing.assert_allclose(np.reshape(drawn, (-1, 4)), np.reshape(kept, (-1, 4)), atol=1)


def test_training_and_validation_share_no_scan_and_no_pixel():
    import scenes
    from sklearn.datasets import load_digits

    train, validation = scenes.load_material("train"), scenes.load_material("validation")
    assert len(train.glyphs) + len(validation.glyphs) == len(load_digits().images)
    assert set(train.labels) == set(validation.labels) == set(range(10))
    for left, right in zip(train.backgrounds, validation.backgrounds, strict=True):
        name_width = left.shape[1] + right.shape[1]
        assert left.shape[1] == int(name_width * scenes.TRAIN_SHARE)


def test_boxes_fit_the_ink():
    """On a scene with one digit on a flat background, the box holds what changed."""
    import scenes

    material = scenes.load_material("validation")
    flat = np.full((480, 480, 3), 128, np.uint8)
    plain = scenes.Material((flat,), material.glyphs, material.labels)
    checked = 0
    for index in range(60):
        scene = scenes.draw(plain, "validation", index)
        if len(scene.boxes) != 1:
            continue
        left, top, right, bottom = scene.boxes[0].astype(int)
        inside = scene.image[top:bottom, left:right].reshape(-1, 3).astype(float)
        assert inside.std(axis=0).max() > 5
        checked += 1
    assert checked >= 3
