"""Train the detectors that parity is measured with: on the demo's data, from Ultralytics' yaml.

Nothing is downloaded, and nothing of what comes out goes into the repository: the weights fall
under Ultralytics' licence.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Final

import cv2

ROOT: Final = Path(__file__).parents[2]
DEMO: Final = ROOT / "examples" / "demo"
CACHE: Final = ROOT / ".cache" / "parity"
SIZE: Final = 192
MODELS: Final = ("yolo11n", "yolov8n")
TRAIN_IMAGES: Final = 600
EPOCHS: Final = 12


def offline() -> None:
    """Keep Ultralytics' settings inside the cache, and keep it off the network.

    Raises:
        RuntimeError: it was imported before, so that it is too late.
    """
    if "ultralytics" in sys.modules:
        raise RuntimeError("call offline() before ultralytics is imported")
    CACHE.mkdir(parents=True, exist_ok=True)
    os.environ["YOLO_CONFIG_DIR"] = str(CACHE)
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_VERBOSE"] = "false"


def data_set() -> Path:
    """Write the demo's data as a YOLO data set, once; return its folder."""
    folder = CACHE / "data"
    if (folder / "data.yaml").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    names = _write_validation(folder)
    _write_training(folder)
    (folder / "data.yaml").write_text(
        f"path: {folder}\ntrain: images/train\nval: images/val\nnames: {json.dumps(names)}\n"
    )
    return folder


def trained(name: str) -> Path:
    """Return a model's checkpoint, trained by the first call."""
    best = CACHE / name / "weights" / "best.pt"
    if not best.exists():
        from ultralytics import YOLO

        YOLO(f"{name}.yaml", task="detect").train(
            data=str(data_set() / "data.yaml"),
            imgsz=SIZE,
            epochs=EPOCHS,
            batch=8,
            project=str(CACHE),
            name=name,
            exist_ok=True,
            pretrained=False,
            optimizer="AdamW",
            lr0=0.002,
            warmup_epochs=1,
            fliplr=0.0,  # a mirrored digit is another sign
            mosaic=0.0,
            workers=1,
            amp=False,
            val=False,
            plots=False,
            seed=0,
        )
    return best


def _write_validation(folder: Path) -> list[str]:
    """Copy the demo's validation images, with their labels; return the class names."""
    coco = json.loads((DEMO / "data/annotations/instances_validation.json").read_text())
    images, labels = _folders(folder, "val")
    for image in coco["images"]:
        shutil.copy(DEMO / "data/validation" / image["file_name"], images)
        own = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        boxes = [(a["category_id"] - 1, *a["bbox"]) for a in own]
        path = labels / Path(image["file_name"]).with_suffix(".txt").name
        path.write_text(_lines(boxes, image["width"], image["height"]))
    return [category["name"] for category in coco["categories"]]


def _write_training(folder: Path) -> None:
    sys.path.insert(0, str(DEMO))
    try:
        import scenes
    finally:
        sys.path.remove(str(DEMO))
    images, labels = _folders(folder, "train")
    material = scenes.load_material("train")
    for index in range(TRAIN_IMAGES):
        scene = scenes.draw(material, "train", index)
        height, width = scene.image.shape[:2]
        cv2.imwrite(str(images / f"{index:05d}.jpg"), scene.image)
        boxes = [
            (int(label), left, top, right - left, bottom - top)
            for (left, top, right, bottom), label in zip(
                scene.boxes.tolist(), scene.labels, strict=True
            )
        ]
        (labels / f"{index:05d}.txt").write_text(_lines(boxes, width, height))


def _folders(folder: Path, split: str) -> tuple[Path, Path]:
    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    return images, labels


def _lines(boxes: list[tuple[int, float, float, float, float]], width: int, height: int) -> str:
    return "".join(
        f"{label} {(x + w / 2) / width:.9f} {(y + h / 2) / height:.9f}"
        f" {w / width:.9f} {h / height:.9f}\n"
        for label, x, y, w, h in boxes
    )


if __name__ == "__main__":
    offline()
    for each in MODELS:
        trained(each)
