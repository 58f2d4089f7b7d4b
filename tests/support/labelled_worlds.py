"""Random labelled data sets with detections, and pycocotools' own verdict on them."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mpj_runner.vision.detections import Boxes
from mpj_runner.vision.matching import match
from mpj_runner.vision.metrics import records
from mpj_runner.vision.truth import Objects, Truth


def world(seed, images=25, classes=4, objects=5, dets=40, crowd=0.0, ties=False, absent=()):
    """Return a truth and detections: some near objects, some anywhere, sizes over all ranges."""
    rng = np.random.default_rng(seed)
    labelled, found = [], []
    present = np.array([k for k in range(classes) if k not in absent])
    for _ in range(images):
        count = rng.integers(0, objects + 1)
        side = np.exp(rng.uniform(np.log(8), np.log(200), (count, 2)))
        boxes = np.concatenate([rng.uniform(0, 300, (count, 2)), side], 1)
        if ties:
            boxes = np.round(boxes, -1) + 10
        kinds = rng.choice(present, count).astype(np.int32)
        area = boxes[:, 2] * boxes[:, 3] * rng.uniform(0.5, 1, count)
        labelled.append(Objects(boxes, kinds, area, rng.random(count) < crowd))
        found.append(_detections(rng, labelled[-1], rng.integers(0, dets + 1), classes, ties))
    names = tuple(f"{i}.jpg" for i in range(images))
    return Truth(names, tuple(f"class {k}" for k in range(classes)), tuple(labelled)), found


def _detections(rng, objects, count, classes, ties):
    near = rng.random(count) < 0.5 if len(objects.classes) else np.zeros(count, bool)
    at = rng.integers(0, max(len(objects.classes), 1), count)
    boxes = np.concatenate([rng.uniform(0, 300, (count, 2)), rng.uniform(5, 150, (count, 2))], 1)
    boxes[near] = objects.xywh[at[near]]
    boxes[near, 2:] *= np.exp(rng.normal(0, 0.0 if ties else 0.15, (near.sum(), 2)))
    kinds = rng.integers(0, classes, count)
    kinds[near] = objects.classes[at[near]]
    scores = rng.random(count)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    if ties:
        scores = np.round(scores, 1)
    return Boxes(corners.astype(np.float32), scores.astype(np.float32), kinds.astype(np.int32))


def repeated(truth, found, counts):
    """Return the data set in which image i stands ``counts[i]`` times."""
    index = np.repeat(np.arange(len(counts)), counts)
    names = tuple(f"{n}.jpg" for n in range(len(index)))
    objects = tuple(truth.objects[i] for i in index)
    return Truth(names, truth.classes, objects), [found[i] for i in index]


def judged(truth, found):
    """Return the class records of detections."""
    return records([match(d, o) for d, o in zip(found, truth.objects, strict=True)], truth)


def coco_json(truth):
    """Return a truth as COCO JSON as the snapshot step writes it (image sizes left out)."""
    annotations = [
        {
            "image_id": image,
            "category_id": int(kind) + 1,
            "bbox": box.tolist(),
            "area": float(area),
            "iscrowd": int(crowd),
        }
        for image, own in enumerate(truth.objects, 1)
        for box, kind, area, crowd in zip(own.xywh, own.classes, own.area, own.crowd, strict=True)
    ]
    return {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(truth.names, 1)],
        "annotations": [{"id": i, **one} for i, one in enumerate(annotations, 1)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(truth.classes, 1)],
    }


def coco_results(found):
    """Return detections in COCO's format for results."""
    return [
        {
            "image_id": image,
            "category_id": int(kind) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(score),
        }
        for image, boxes in enumerate(found, 1)
        for (x1, y1, x2, y2), score, kind in zip(
            boxes.xyxy.astype(float).tolist(), boxes.scores, boxes.classes, strict=True
        )
    ]


def stock(truth, found):
    """Return pycocotools' COCOeval after evaluate, accumulate and summarize."""
    return stock_evaluation(coco_json(truth), coco_results(found))


def stock_evaluation(annotations, results):
    """Run pycocotools as its own demo does; silently."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = annotations
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
