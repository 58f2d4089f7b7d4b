"""Write the demo's data set: JPEG images and COCO annotations for calibration and validation.

Run ``python examples/demo/make_data.py`` to make again what is committed under ``data/``. Training
images are never written: ``train.py`` draws them as it starts.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Final

import cv2
from scenes import NAMES, Scene, Split, draw, load_material

COUNTS: Final[dict[Split, int]] = {"calibration": 128, "validation": 400}
QUALITY: Final = 85
"""Of the JPEG files."""


def write_split(folder: Path, split: Split, count: int, seed: int = 0) -> None:
    """Write ``<folder>/<split>/*.jpg`` and ``<folder>/annotations/instances_<split>.json``."""
    material = load_material(split)
    images, annotations = folder / split, folder / "annotations"
    images.mkdir(parents=True, exist_ok=True)
    annotations.mkdir(parents=True, exist_ok=True)
    coco: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)],
    }
    for index in range(count):
        scene = draw(material, split, index, seed)
        name = f"{split}-{index:04d}.jpg"
        height, width = scene.image.shape[:2]
        cv2.imwrite(str(images / name), scene.image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        coco["images"].append(
            {"id": index + 1, "file_name": name, "height": height, "width": width}
        )
        coco["annotations"] += records(scene, index + 1, len(coco["annotations"]) + 1)
    text = json.dumps(coco, separators=(",", ":"))
    (annotations / f"instances_{split}.json").write_text(text + "\n", encoding="utf-8")


def records(scene: Scene, image_id: int, first_id: int) -> list[dict[str, Any]]:
    """Return a scene's COCO annotations; ids count from ``first_id``."""
    return [
        {
            "id": first_id + i,
            "image_id": image_id,
            "category_id": int(label) + 1,
            "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
            "area": float((right - left) * (bottom - top)),
            "iscrowd": 0,
        }
        for i, ((left, top, right, bottom), label) in enumerate(
            zip(scene.boxes.tolist(), scene.labels, strict=True)
        )
    ]


def main() -> None:
    """Write both splits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for split, count in COUNTS.items():
        write_split(arguments.out, split, count, arguments.seed)


if __name__ == "__main__":
    main()
