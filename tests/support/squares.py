"""A detector that really detects, in a few nodes, and images made for it.

Images are black with squares of 8 x 8 pixels on a grid; the class is the colour (red, green, blue)
and the score is how bright it is. The detector averages each cell of the grid.
"""

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mpj_runner.contract.model import InputSize, ModelMetadata, Preprocess
from mpj_runner.vision.truth import Objects, Truth

SIZE = 32
CELL = 8
GRID = SIZE // CELL
NAMES = ("red", "green", "blue")


def metadata(batch=1, **changes):
    values = {
        "input_name": "images",
        "output_name": "output",
        "batch_size": batch,
        "input_size": InputSize(height=SIZE, width=SIZE),
        "classes": NAMES,
        "class_count": 3,
        "preprocess": Preprocess(),
        "decoder": "YOLO",
        "opset": 17,
        "source_format": "onnx",
    }
    return ModelMetadata(**{**values, **changes})


def detector(path, *, batch=1, shift=0.0, gains=(1.0, 1.0, 1.0), poison=None):
    """Write the detector: boxes moved right by ``shift`` pixels, scores times ``gains``.

    With ``poison`` every output of an image whose first pixel is above it (0..1) is NaN.
    """
    at = (np.stack(np.meshgrid(*[np.arange(GRID)] * 2), 0).reshape(2, -1) + 0.5) * CELL
    at[0] += shift
    boxes = np.concatenate([at, np.full((2, GRID * GRID), CELL)]).astype(np.float32)
    constants = {
        "boxes": np.repeat(boxes[None], batch, 0),
        "gains": np.float32(gains).reshape(1, 3, 1),
        "shape": np.int64([batch, 3, GRID * GRID]),
    }
    pool = {"kernel_shape": [CELL, CELL], "strides": [CELL, CELL]}
    nodes = [
        helper.make_node("AveragePool", ["images"], ["cells"], "pool", **pool),
        helper.make_node("Reshape", ["cells", "shape"], ["flat"], "flatten"),
        helper.make_node("Mul", ["flat", "gains"], ["scores"], "scale"),
        helper.make_node("Concat", ["boxes", "scores"], ["found"], "join", axis=1),
    ]
    if poison is None:
        nodes.append(helper.make_node("Identity", ["found"], ["output"], "end"))
    else:  # sqrt of a negative number is NaN
        constants |= {"poison": np.float32(poison), "starts": np.int64([0, 0, 0, 0])}
        constants |= {"ends": np.int64([batch, 1, 1, 1]), "flat_shape": np.int64([batch, 1, 1])}
        nodes += [
            helper.make_node("Slice", ["images", "starts", "ends"], ["first"], "first"),
            helper.make_node("Sub", ["poison", "first"], ["margin"], "margin"),
            helper.make_node("Sqrt", ["margin"], ["root"], "root"),
            helper.make_node("Div", ["root", "root"], ["one"], "one"),
            helper.make_node("Reshape", ["one", "flat_shape"], ["factor"], "factor"),
            helper.make_node("Mul", ["found", "factor"], ["output"], "end"),
        ]
    shapes = ("images", [batch, 3, SIZE, SIZE]), ("output", [batch, 7, GRID * GRID])
    source, target = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes)
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "squares", [source], [target], weights)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def data_set(folder, count=20, seed=0):
    """Write images with 1 to 5 squares each into a folder; return what is in them."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names, labelled = [], []
    for number in range(count):
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        # The first cell stays black, for what tests write there; the last column too, so that
        # boxes that are moved right are not clipped.
        usable = [cell for cell in range(1, GRID * GRID) if cell % GRID < GRID - 1]
        cells = rng.permutation(usable)[: rng.integers(1, 6)]
        kinds = rng.integers(0, 3, len(cells)).astype(np.int32)
        corners = np.stack([cells % GRID, cells // GRID], 1) * CELL
        for (x, y), kind in zip(corners, kinds, strict=True):
            image[y : y + CELL, x : x + CELL, 2 - kind] = rng.integers(60, 256)
        names.append(f"{number:06d}-{number}.png")
        cv2.imwrite(str(folder / names[-1]), image)
        sides = np.full_like(corners, CELL)
        xywh = np.concatenate([corners, sides], 1).astype(np.float64)
        area, crowd = np.full(len(cells), float(CELL * CELL)), np.zeros(len(cells), bool)
        labelled.append(Objects(xywh, kinds, area, crowd))
    return Truth(tuple(names), NAMES, tuple(labelled))
