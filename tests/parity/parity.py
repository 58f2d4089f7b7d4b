"""Hold reading, letterbox, decoding, suppression and the whole path against Ultralytics itself.

Needs the extra ``ultralytics``: ``make parity`` runs it in an environment of its own. The first run
trains two small detectors (minutes). Prints its figures; exits 1 when a bar is missed:

1. letterboxed uint8 images are identical, byte for byte;
2. from one and the same raw output, the same boxes are kept, within 0.01 pixels of the original
   image and 1e-4 of score;
3. mAP of our whole path (export, ONNX Runtime, our decoding, pycocotools) equals pycocotools' on
   the predictions that Ultralytics' own validation saves, to 0.001, with the same thresholds.
"""

import contextlib
import io
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from detectors import CACHE, DEMO, MODELS, SIZE, data_set, offline, trained

offline()

import torch  # noqa: E402 - after Ultralytics' settings were moved
from pycocotools.coco import COCO  # noqa: E402 - after the path is set
from pycocotools.cocoeval import COCOeval  # noqa: E402 - after the path is set
from ultralytics import YOLO  # noqa: E402 - after the path is set
from ultralytics.data.augment import LetterBox  # noqa: E402 - after the path is set
from ultralytics.utils.nms import non_max_suppression  # noqa: E402 - after the path is set
from ultralytics.utils.ops import scale_boxes  # noqa: E402 - after the path is set
from ultralytics.utils.patches import imread  # noqa: E402 - after the path is set

from mpj_runner.contract.model import InputSize, ModelMetadata, Preprocess  # noqa: E402 - after the path is set
from mpj_runner.contract.steps import (  # noqa: E402 - after the path is set
    BuildParams,
    EvalParams,
    ExportParams,
    SnapshotParams,
)
from mpj_runner.steps import build, export, snapshot  # noqa: E402 - after the path is set
from mpj_runner.steps import eval as evaluation  # noqa: E402 - after the path is set
from mpj_runner.vision.decode import Limits, detect  # noqa: E402 - after the path is set
from mpj_runner.vision.images import list_images, read_image  # noqa: E402 - after the path is set
from mpj_runner.vision.resize import fit  # noqa: E402 - after the path is set

Array = npt.NDArray[np.float32]
LIMITS = Limits(score_threshold=0.001, iou_threshold=0.7, max_detections=300)
SIZES = ((SIZE, SIZE), (640, 640), (320, 512))
PIXELS, SCORE, MAP = 0.01, 1e-4, 0.001
USEFUL = 0.1
"""mAP above which a detector's boxes mean something."""


@dataclass
class Bars:
    """The verdicts so far."""

    missed: int = 0

    def hold(self, words: str, *, met: bool) -> None:
        self.missed += not met
        print(f"{'ok  ' if met else 'MISS'} {words}", flush=True)


def main() -> None:
    bars = Bars()
    images = list_images(data_set() / "images" / "val")
    compare_letterbox(bars, images)
    for name in MODELS:
        start = time.monotonic()
        checkpoint = trained(name)
        print(f"     {name}: checkpoint ready in {time.monotonic() - start:.0f} s", flush=True)
        compare_boxes(bars, name, checkpoint, images)
        compare_map(bars, name, checkpoint)
    sys.exit(bars.missed > 0)


def compare_letterbox(bars: Bars, images: list[Path]) -> None:
    for height, width in SIZES:
        box = LetterBox((height, width), auto=False, stride=32)
        size = InputSize(height=height, width=width)
        same = 0
        for path in images:
            ours, _ = fit(read_image(path), size, Preprocess())
            same += np.array_equal(ours, box(image=imread(str(path))))
        bars.hold(
            f"letterbox {height}x{width}: {same} of {len(images)} images identical",
            met=same == len(images),
        )


def compare_boxes(bars: Bars, name: str, checkpoint: Path, images: list[Path]) -> None:
    """Compare on the raw outputs of the PyTorch model, image by image."""
    model = YOLO(checkpoint).model.float().fuse().eval()
    count = len(model.names)
    metadata = ModelMetadata(
        input_name="images",
        output_name="output",
        batch_size=1,
        input_size=InputSize(height=SIZE, width=SIZE),
        class_count=count,
        preprocess=Preprocess(),
        decoder="YOLO",
        opset=17,
        source_format="ultralytics",
    )
    boxes = differing = 0
    pixels = score = 0.0
    for path in images:
        original = read_image(path)
        fitted, placement = fit(original, metadata.input_size, metadata.preprocess)
        tensor = torch.from_numpy(fitted[..., ::-1].transpose(2, 0, 1).copy())[None].float() / 255
        with torch.inference_mode():
            raw = model(tensor)[0]
        theirs = non_max_suppression(
            raw.clone(),
            LIMITS.score_threshold,
            LIMITS.iou_threshold,
            multi_label=True,
            max_det=LIMITS.max_detections,
            max_time_img=60.0,
        )[0]
        theirs[:, :4] = scale_boxes((SIZE, SIZE), theirs[:, :4], original.shape)
        ours = detect(raw[0].numpy(), placement, metadata, LIMITS)
        a = canonical(theirs[:, :4].numpy(), theirs[:, 4].numpy(), theirs[:, 5].numpy())
        b = canonical(ours.xyxy, ours.scores, ours.classes)
        boxes += len(a)
        if len(a) != len(b) or (a[:, 5] != b[:, 5]).any():
            differing += 1
            continue
        pixels = max(pixels, float(np.abs(a - b)[:, :4].max(initial=0)))
        score = max(score, float(np.abs(a - b)[:, 4].max(initial=0)))
    bars.hold(
        f"{name}: kept sets differ on {differing} of {len(images)} images ({boxes} boxes)",
        met=differing == 0 and boxes > 0,
    )
    bars.hold(f"{name}: boxes within {pixels:.2g} px (bar {PIXELS})", met=pixels <= PIXELS)
    bars.hold(f"{name}: scores within {score:.2g} (bar {SCORE})", met=score <= SCORE)


def canonical(xyxy: Array, scores: Array, classes: Array) -> Array:
    """Return rows of box, score and class, best first.

    Boxes of one score are ordered by class and place: Ultralytics' sort leaves their order open.
    """
    order = np.lexsort((*xyxy.T, classes, -scores))
    return np.column_stack([xyxy, scores, classes])[order]


def compare_map(bars: Bars, name: str, checkpoint: Path) -> None:
    ours, theirs = our_map(checkpoint), their_map(name, checkpoint)
    for metric in ("mAP", "mAP50"):
        gap = abs(ours[metric] - theirs[metric])
        bars.hold(
            f"{name}: {metric} ours {ours[metric]:.5f}, Ultralytics' predictions "
            f"{theirs[metric]:.5f}, apart {gap:.5f} (bar {MAP})",
            met=gap <= MAP,
        )
    bars.hold(f"{name}: mAP {ours['mAP']:.3f} is above {USEFUL}", met=ours["mAP"] > USEFUL)


def our_map(checkpoint: Path) -> dict[str, float]:
    """Run the steps: export, snapshot of the YOLO folder, build for ONNX Runtime, eval."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for step in ("export", "snapshot", "build", "eval"):
            (home / step).mkdir()
        exported = export.run(
            ExportParams(format="ultralytics", input_size=InputSize(height=SIZE, width=SIZE)),
            {"model": checkpoint},
            home / "export",
        ).files
        frozen = snapshot.run(
            SnapshotParams(role="validation", format="YOLO", split="val", max_images=100_000),
            {"source": data_set(), "metadata": exported["metadata"]},
            home / "snapshot",
        ).files
        built = build.run(
            BuildParams(backend="onnxruntime", precision="fp32"), exported, home / "build"
        ).files
        outcome = evaluation.run(
            EvalParams(
                backend="onnxruntime",
                precision="fp32",
                score_threshold=LIMITS.score_threshold,
                iou_threshold=LIMITS.iou_threshold,
                max_detections=LIMITS.max_detections,
            ),
            {"engine": built["engine"], "metadata": exported["metadata"], **frozen},
            home / "eval",
        ).outcome
    return {"mAP": outcome.map, "mAP50": outcome.map50}


def their_map(name: str, checkpoint: Path) -> dict[str, float]:
    """Let Ultralytics validate and save its predictions; judge them with plain pycocotools."""
    folder = CACHE / f"{name}-val"
    YOLO(checkpoint).val(
        data=str(data_set() / "data.yaml"),
        imgsz=SIZE,
        batch=1,
        rect=False,
        conf=LIMITS.score_threshold,
        iou=LIMITS.iou_threshold,
        max_det=LIMITS.max_detections,
        save_json=True,
        plots=False,
        workers=0,
        project=str(CACHE),
        name=folder.name,
        exist_ok=True,
        verbose=False,
        device="cpu",
    )
    results = json.loads((folder / "predictions.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(DEMO / "data/annotations/instances_validation.json"))
        ids = {Path(image["file_name"]).stem: image["id"] for image in truth.dataset["images"]}
        for result in results:
            result["image_id"] = ids[str(result["image_id"])]
        judge = COCOeval(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {"mAP": float(judge.stats[0]), "mAP50": float(judge.stats[1])}


if __name__ == "__main__":
    main()
