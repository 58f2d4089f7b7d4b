"""A detector that detects, in four convolutions, and a labelled data set made for it.

Images are 64 x 64, black, with coloured squares on an 8 x 8 grid. The class is the colour and the
score is how bright it is: three convolutions that halve the image average each cell, and a fourth
is the head. More channels of noise give quantization something to do.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, CELL = 64, 8
GRID = SIZE // CELL
NAMES = ("red", "green", "blue")
CHANNELS = 24  # fewer than 16 and ModelOpt would quantize nothing


def detector(
    *, size: Any = SIZE, batch: Any = 1, gain: float = 1.0, poison: bool = False, classes: int = 3
) -> onnx.ModelProto:
    """Return the detector.

    Args:
        size: height and width of the declared input; a string makes them dynamic.
        batch: of the declared input.
        gain: factor on the scores; with 0 it finds nothing.
        poison: answers NaN, whatever it sees.
        classes: scores that it gives; those beyond the third are zero.
    """
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    nodes, last, inputs = [], "images", 3
    for layer in range(3):
        kernel = rng.normal(0, 0.1, (CHANNELS, inputs, 2, 2)).astype(np.float32)
        kernel[:3] = 0
        for colour in range(3):
            kernel[colour, colour] = 0.25
        weights[f"w{layer}"], inputs = kernel, CHANNELS
        nodes += [
            helper.make_node(
                "Conv", [last, f"w{layer}"], [f"c{layer}"], f"/body.{layer}/Conv", strides=[2, 2]
            ),
            helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"], f"/body.{layer}/Relu"),
        ]
        last = f"r{layer}"
    head = np.zeros((classes, CHANNELS, 1, 1), np.float32)
    for colour in range(min(3, classes)):
        head[colour, colour] = gain
    cells = GRID * GRID
    at = (np.stack(np.meshgrid(*[np.arange(GRID)] * 2), 0).reshape(2, cells) + 0.5) * CELL
    boxes = np.concatenate([at, np.full((2, cells), CELL)]).astype(np.float32)[None]
    weights |= {"head": head, "boxes": boxes, "flat": np.int64([1, classes, cells])}
    nodes += [
        helper.make_node("Conv", [last, "head"], ["h"], "/head/Conv"),
        helper.make_node("Reshape", ["h", "flat"], ["scores"], "/head/Reshape"),
        helper.make_node("Concat", ["boxes", "scores"], ["found"], "/head/Concat", axis=1),
    ]
    if poison:  # the sum of squares plus one is positive: the root of its negative is NaN
        weights["minus"] = np.float32(-1)
        nodes += [
            helper.make_node("ReduceSumSquare", ["scores"], ["sum"], "/nan/Sum", keepdims=0),
            helper.make_node("Sub", ["minus", "sum"], ["negative"], "/nan/Sub"),
            helper.make_node("Sqrt", ["negative"], ["nan"], "/nan/Sqrt"),
            helper.make_node("Add", ["found", "nan"], ["output0"], "/nan/Add"),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["found"], ["output0"], "/end/Identity"))
    shapes = ("images", [batch, 3, size, size]), ("output0", [batch, 4 + classes, cells])
    source, target = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes)
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", [source], [target], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write_data(folder: Path, counts: Mapping[str, int]) -> None:
    """Write a COCO data set: images/<split>/*.png and annotations/instances_<split>.json."""
    rng = np.random.default_rng(1)
    (folder / "annotations").mkdir(parents=True)
    for split, count in counts.items():
        (folder / "images" / split).mkdir(parents=True)
        images, annotations = [], []
        for number in range(1, count + 1):
            pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
            for cell in rng.permutation(GRID * GRID)[: rng.integers(3, 12)]:
                colour, x, y = (
                    int(rng.integers(3)),
                    int(cell % GRID) * CELL,
                    int(cell // GRID) * CELL,
                )
                pixels[y : y + CELL, x : x + CELL, 2 - colour] = rng.integers(60, 256)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": colour + 1,
                        "bbox": [x, y, CELL, CELL],
                        "area": CELL * CELL,
                        "iscrowd": 0,
                    }
                )
            name = f"{number:03d}.png"
            cv2.imwrite(str(folder / "images" / split / name), pixels)
            images.append({"id": number, "file_name": name, "width": SIZE, "height": SIZE})
        categories = [{"id": i, "name": name} for i, name in enumerate(NAMES, 1)]
        (folder / "annotations" / f"instances_{split}.json").write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": categories})
        )
