"""Train the detectors that parity is measured with: on the demo's data, from Ultralytics' yaml.

They learn the very images that parity is measured on, without augmentation: what counts is that two
programs agree on boxes that mean something, and this gets there in minutes on two cores. Nothing is
downloaded, and nothing of what comes out goes into the repository: the weights fall under
Ultralytics' licence.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
DEMO: Final = ROOT / "examples" / "demo"
CACHE: Final = ROOT / ".cache" / "parity"
SIZE: Final = 192
MODELS: Final = ("yolo11n", "yolov8n")
EPOCHS: Final = 10
AUGMENTATIONS: Final = (
    "hsv_h",
    "hsv_s",
    "hsv_v",
    "translate",
    "scale",
    "fliplr",
    "mosaic",
    "erasing",
)


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
    """Write the demo's validation images as a YOLO data set, once; return its folder."""
    folder = CACHE / "data"
    if (folder / "data.yaml").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    images, labels = folder / "images" / "val", folder / "labels" / "val"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    coco = json.loads((DEMO / "data/annotations/instances_validation.json").read_text())
    for image in coco["images"]:
        shutil.copy(DEMO / "data/validation" / image["file_name"], images)
        own = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        path = labels / Path(image["file_name"]).with_suffix(".txt").name
        path.write_text("".join(_line(a, image["width"], image["height"]) for a in own))
    names = json.dumps([category["name"] for category in coco["categories"]])
    (folder / "data.yaml").write_text(
        f"path: {folder}\ntrain: images/val\nval: images/val\nnames: {names}\n"
    )
    return folder


def trained(name: str) -> Path:
    """Return a model's checkpoint, trained by the first call."""
    checkpoint = CACHE / f"{name}.pt"
    if not checkpoint.exists():
        from ultralytics import YOLO

        model = YOLO(f"{name}.yaml", task="detect")
        model.train(
            data=str(data_set() / "data.yaml"),
            imgsz=SIZE,
            epochs=EPOCHS,
            batch=4,
            nbs=4,  # a step after every batch; the default gathers 64 images for one
            project=str(CACHE),
            name=name,
            exist_ok=True,
            pretrained=False,
            optimizer="AdamW",
            lr0=0.001,
            warmup_epochs=1,
            **dict.fromkeys(AUGMENTATIONS, 0.0),
            auto_augment=None,
            workers=1,
            amp=False,
            val=False,
            plots=False,
            seed=0,
        )
        # Only a finished training leaves this name.
        Path(model.trainer.last).replace(checkpoint)
    return checkpoint


def _line(annotation: dict[str, Any], width: int, height: int) -> str:
    x, y, w, h = annotation["bbox"]
    box = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
    return f"{annotation['category_id'] - 1} " + " ".join(f"{v:.9f}" for v in box) + "\n"


if __name__ == "__main__":
    offline()
    for each in MODELS:
        trained(each)
