"""Data sets in a few lines, and the step that freezes them."""

import json
import tarfile
import zipfile

import cv2
import numpy as np

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


def objects_by_image(annotations):
    """Return {original image name: [(category name, rounded box)]}."""
    files = {image["id"]: image["file_name"][7:] for image in annotations["images"]}
    names = {category["id"]: category["name"] for category in annotations["categories"]}
    found = {name: [] for name in files.values()}
    for one in annotations["annotations"]:
        rounded = tuple(round(x, 3) for x in one["bbox"])
        found[files[one["image_id"]]].append((names[one["category_id"]], rounded))
    return found


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
