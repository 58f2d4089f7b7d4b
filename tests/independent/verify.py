"""Judge a finished run again without a line of ours: ``python tests/independent/verify.py OUT``.

Reads only what a user gets: OUT/status.yaml, the artifacts that it names, and the validation data
set. Each artifacts.onnx is loaded by stock ONNX Runtime on the CPU; images are read, resized and
suppressed by OpenCV; accuracy is pycocotools'. Prints reported and own figures and exits with 1
when an mAP differs by more than 0.002, or when a verdict on accuracy, or on speed where the run's
backend is ONNX Runtime too, does not follow from the own figures.
"""

import contextlib
import io
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np
import onnxruntime as ort
import yaml
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

TOLERANCE = 0.002
ROUNDS = 150
NOISE = 1.1
"""A ratio that only crosses the limit by this factor may be noise."""


def path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def letterbox(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, float, int, int]:
    scale = min(height / image.shape[0], width / image.shape[1])
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    left, top = (width - size[0]) / 2, (height - size[1]) / 2
    if image.shape[1::-1] != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    edges = [round(top - 0.1), round(top + 0.1), round(left - 0.1), round(left + 0.1)]
    image = cv2.copyMakeBorder(image, *edges, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return image, scale, edges[2], edges[0]


def detections(session: ort.InferenceSession, image: np.ndarray, limits: dict[str, Any]):
    shape = session.get_inputs()[0].shape
    boxed, scale, left, top = letterbox(image, shape[2], shape[3])
    tensor = boxed[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    (output,) = session.run(None, {session.get_inputs()[0].name: tensor})
    rows = output[0].T
    anchors, classes = np.nonzero(rows[:, 4:] > float(limits["scoreThreshold"]))
    scores = rows[anchors, 4 + classes]
    boxes = rows[anchors, :4].astype(np.float64)
    boxes[:, :2] -= boxes[:, 2:] / 2
    kept = cv2.dnn.NMSBoxesBatched(
        boxes.tolist(), scores.tolist(), classes.tolist(), 0.0, float(limits["iouThreshold"])
    )
    kept = sorted(np.ravel(kept).astype(int).tolist(), key=lambda k: -scores[k])
    for k in kept[: limits["maxDetections"]]:
        x, y, w, h = boxes[k]
        x1, y1 = max(0.0, (x - left) / scale), max(0.0, (y - top) / scale)
        x2 = min(float(image.shape[1]), (x + w - left) / scale)
        y2 = min(float(image.shape[0]), (y + h - top) / scale)
        yield [x1, y1, x2 - x1, y2 - y1], float(scores[k]), int(classes[k])


def mean_average_precision(
    session: ort.InferenceSession, truth: COCO, images: Path, limits: dict[str, Any]
) -> float:
    categories = sorted(truth.getCatIds())
    found = []
    for entry in truth.dataset["images"]:
        image = cv2.imread(str(images / entry["file_name"]))
        found += [
            {"image_id": entry["id"], "category_id": categories[c], "bbox": box, "score": score}
            for box, score, c in detections(session, image, limits)
        ]
    if not found:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(truth, truth.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[0])


def speedup(baseline: ort.InferenceSession, other: ort.InferenceSession) -> float:
    """Return the ratio of median latencies, runs interleaved."""
    shape = baseline.get_inputs()[0].shape
    tensor = np.random.default_rng(0).random(shape, dtype=np.float32)
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for which, session in enumerate((baseline, other)):
            started = time.perf_counter()
            session.run(None, {session.get_inputs()[0].name: tensor})
            times[which].append(time.perf_counter() - started)
    return statistics.median(times[0]) / statistics.median(times[1])


def session_of(result: dict[str, Any]) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Two sessions take turns: one that spins while it waits would slow the other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = path_of(result["artifacts"]["onnx"]["uri"])
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main(out: Path) -> int:
    job = yaml.safe_load((out / "status.yaml").read_text())
    spec, status = job["spec"], job["status"]
    data, objective = spec["validation"], spec["objective"]
    root = path_of(data["uri"])
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(root / data["annotations"]))
    first = truth.dataset["images"][0]["file_name"]
    folders = [root / (data.get("split") or ""), root / "images" / (data.get("split") or ""), root]
    images = next(folder for folder in folders if (folder / first).exists())
    limit = float(objective["maxAccuracyDrop"])
    same_runtime = spec["target"]["backend"] == "onnxruntime"
    reference = mean_average_precision(session_of(status["reference"]), truth, images, data)
    baseline = session_of(status["baseline"])
    problems = []
    print(
        f"{'name':<12} {'mAP said':>9} {'mAP own':>9} {'drop own':>9} {'speedup own':>12}  verdict"
    )
    listed = [status["reference"], status["baseline"], *status.get("candidates", [])]
    for result in listed:
        if "mAP" not in result:
            continue
        session = session_of(result)
        own = mean_average_precision(session, truth, images, data)
        said, drop = float(result["mAP"]), reference - own
        fast = speedup(baseline, session) if same_runtime else float("nan")
        print(
            f"{result['name']:<12} {said:>9.4f} {own:>9.4f} {drop:>9.4f} {fast:>12.3f}  "
            f"{result['state']}"
        )
        if abs(own - said) > TOLERANCE:
            problems.append(f"{result['name']}: mAP {said:.4f} reported, {own:.4f} measured")
        accurate, near = drop <= limit, abs(drop - limit) <= TOLERANCE
        slow = any("speedup" in reason for reason in result.get("reasons", []))
        if result["state"] == "Accepted" and not accurate and not near:
            problems.append(f"{result['name']}: accepted with a drop of {drop:.4f}")
        if result["state"] == "Rejected" and not slow and accurate and not near:
            problems.append(f"{result['name']}: rejected with a drop of {drop:.4f}")
        if slow and same_runtime and fast > float(objective["minSpeedup"]) * NOISE:
            problems.append(f"{result['name']}: rejected as slow, but {fast:.2f}x here")
        judged = result["name"] not in ("reference", "baseline")
        fast_enough = judged and result["state"] == "Accepted" and same_runtime
        if fast_enough and fast * NOISE < float(objective["minSpeedup"]):
            problems.append(f"{result['name']}: accepted as fast, but {fast:.2f}x here")
    print(f"best: {status['best']['name']}: {status['best']['reason']}")
    print("\n".join(problems) or "agrees")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
