"""Freezing data sets: what is picked, how it is written, and what is said of bad ones."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import InputSize, ModelMetadata, Preprocess
from mpj_runner.contract.steps import SnapshotParams
from mpj_runner.steps.snapshot import run

NAMES = ("cat", "dog", "owl")


def picture(number=0, width=32, height=24):
    image = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes | str) else json.dumps(content)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def coco(images, annotations=None, categories=None):
    """Build a COCO file: images by id, one box an image unless annotations are given."""
    if annotations is None:
        annotations = [box(image_id, 1 + n % 3) for n, image_id in enumerate(images)]
    return {
        "images": [{"id": i, "file_name": name} for i, name in images.items()],
        "annotations": [{"id": n, **a} for n, a in enumerate(annotations)],
        "categories": categories or [{"id": k, "name": n} for k, n in enumerate(NAMES, 1)],
    }


def box(image_id, category_id, bbox=(2, 3, 10, 12), **more):
    return {"image_id": image_id, "category_id": category_id, "bbox": list(bbox), **more}


def coco_world(**changes):
    files = {f"val/{n}.png": picture(n) for n in range(6)}
    files["annotations/instances_val.json"] = coco({n: f"{n}.png" for n in range(6)})
    return {**files, **changes}


def yolo_world(**changes):
    files = {f"images/val/{n}.png": picture(n) for n in range(6)}
    files |= {f"labels/val/{n}.txt": f"{n % 3} 0.5 0.5 0.25 0.5\n" for n in range(6)}
    files["data.yaml"] = "val: images/val\nnames: [cat, dog, owl]\n"
    return {**files, **changes}


class Snapshot:
    """Runs the step and reads what it left."""

    def __init__(self, tmp_path):
        self.root = tmp_path

    def __call__(self, source, *, classes=NAMES, count=3, file=None, **params):
        metadata = ModelMetadata(
            input_name="images",
            output_name="out",
            batch_size=1,
            input_size=InputSize(height=32, width=32),
            classes=classes,
            class_count=count,
            preprocess=Preprocess(),
            decoder="YOLO",
            opset=17,
            source_format="onnx",
        )
        write(self.root, {"metadata.json": metadata.to_json()})
        inputs = {"source": source, "metadata": self.root / "metadata.json"}
        if file:
            inputs["annotations"] = file
        settings = {"role": "validation", "format": "COCO", "max_images": 100, **params}
        work = self.root / f"work-{len(list(self.root.glob('work-*')))}"
        work.mkdir()
        result = run(SnapshotParams(**settings), inputs, work)
        assert not (work / "unpacked").exists()
        return (
            result.outcome,
            result.files["images"],
            json.loads(result.files["annotations"].read_text()),
        )


@pytest.fixture
def snapshot(tmp_path):
    return Snapshot(tmp_path)


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


def objects_by_image(annotations):
    """Return {original image name: [(category name, rounded box)]}."""
    files = {image["id"]: image["file_name"][7:] for image in annotations["images"]}
    names = {category["id"]: category["name"] for category in annotations["categories"]}
    found = {name: [] for name in files.values()}
    for one in annotations["annotations"]:
        rounded = tuple(round(x, 3) for x in one["bbox"])
        found[files[one["image_id"]]].append((names[one["category_id"]], rounded))
    return found


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


def packed(folder, how, *, wrapped):
    """Pack a folder; wrapped: below one folder more, as tools that pack a folder do."""
    path = folder.with_suffix("." + how)
    files = [p for p in folder.rglob("*") if p.is_file()]
    names = [p.relative_to(folder.parent if wrapped else folder).as_posix() for p in files]
    if how == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file, name in zip(files, names, strict=True):
                archive.write(file, name)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for file, name in zip(files, names, strict=True):
                archive.add(file, name)
    return path


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


class TestArchives:
    """What comes from outside is checked before it is written."""

    def tar(self, source, *members):
        with tarfile.open(source, "w") as archive:
            for info, data in members:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return source

    def test_missing_source(self, snapshot, source):
        with pytest.raises(UserError, match=r"spec\.validation\.uri does not exist"):
            snapshot(source)

    def test_no_archive_at_all(self, snapshot, source):
        source.write_bytes(b"just text" * 100)
        with pytest.raises(UserError, match="neither a folder nor a whole tar or zip file"):
            snapshot(source)

    @pytest.mark.parametrize("how", ["tar.gz", "zip"])
    def test_half_an_archive(self, snapshot, source, how):
        path = packed(write(source, coco_world()), how, wrapped=False)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match="neither a folder nor a whole tar or zip file"):
            snapshot(path)

    def test_damaged_bytes(self, snapshot, source):
        path = packed(write(source, {"a.png": picture() * 50}), "zip", wrapped=False)
        data = bytearray(path.read_bytes())
        data[200] ^= 0xFF
        path.write_bytes(bytes(data))
        with pytest.raises(UserError, match="Bad CRC"):
            snapshot(path)

    @pytest.mark.parametrize(
        "name", ["../evil.png", "/evil.png", "a/../../evil.png", "C:\\evil.png"]
    )
    def test_entries_that_lead_outside(self, snapshot, source, tmp_path, name):
        with pytest.raises(UserError, match="leads outside"):
            snapshot(self.tar(source, (tarfile.TarInfo(name), picture())))
        zipped = tmp_path / "source.zip"
        with zipfile.ZipFile(zipped, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), picture())
        with pytest.raises(UserError, match="leads outside"):
            snapshot(zipped)
        assert not list(tmp_path.rglob("evil*"))

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    def test_links_and_devices_in_a_tar(self, snapshot, source, kind):
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        with pytest.raises(UserError, match="link or a device"):
            snapshot(self.tar(source, (info, b"")))

    def test_links_in_a_zip(self, snapshot, source):
        info = zipfile.ZipInfo("a.png")
        info.external_attr = 0o120777 << 16
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr(info, "/etc/passwd")
        with pytest.raises(UserError, match="link or a device"):
            snapshot(source)

    def test_a_bomb(self, snapshot, source, monkeypatch):
        monkeypatch.setattr("mpj_runner.vision.archive.FREE_BYTES", 1000)
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", bytes(3_000_000))
        with pytest.raises(UserError, match="more than 200 times its size"):
            snapshot(source)
        assert not list(source.parent.rglob("unpacked"))


def test_links_to_folders_are_followed_but_not_back_up(snapshot, source):
    write(source, coco_world())
    (source / "again").symlink_to(source / "val")
    (source / "val" / "loop").symlink_to(source)
    assert snapshot(source)[0].images == 6
    assert snapshot(source, role="calibration", split="again")[0].images == 6
