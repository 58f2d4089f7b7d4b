"""Builds tiny detectors as ONNX graphs: a YOLO's parts at a few kilobytes and 32 x 32 pixels.

A split stage with a residual bottleneck, pooled context, self-attention, a neck with upsampling and
a decoupled head on strides 4 and 8. Weights are random but seeded.
"""

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 32
CLASSES = 3
BINS = 16
ANCHORS = 8 * 8 + 4 * 4
Dfl = Literal["conv", "matmul", "sum", "none"]


class Builder:
    """Appends nodes and constants under speaking names."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(seed)

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op: str, inputs: list[str], name: str, outputs: int = 1, **attrs) -> list[str]:
        made = [f"{name}_out{i}" if outputs > 1 else f"{name}_out" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, made, name, **attrs))
        return made

    def one(self, op: str, inputs: list[str], name: str, **attrs) -> str:
        return self.node(op, inputs, name, **attrs)[0]

    def conv(self, x: str, name: str, cin: int, cout: int, k: int = 1, s: int = 1) -> str:
        weight = self.rng.normal(0, 1.4 / np.sqrt(cin * k * k), (cout, cin, k, k))
        bias = self.rng.normal(0, 0.1, cout)
        inputs = [
            x,
            self.constant(f"{name}.weight", weight.astype(np.float32)),
            self.constant(f"{name}.bias", bias.astype(np.float32)),
        ]
        pads, shape = [k // 2] * 4, [k, k]
        return self.one(
            "Conv", inputs, f"{name}/Conv", pads=pads, strides=[s, s], kernel_shape=shape
        )

    def block(self, x: str, name: str, cin: int, cout: int, k: int = 1, s: int = 1) -> str:
        y = self.conv(x, name, cin, cout, k, s)
        gate = self.one("Sigmoid", [y], f"{name}/Sigmoid")
        return self.one("Mul", [y, gate], f"{name}/Mul")

    def shape(self, x: str, dims: list[int], name: str) -> str:
        target = self.constant(f"{name}.shape", np.array(dims, dtype=np.int64))
        return self.one("Reshape", [x, target], name)

    def split(self, x: str, sizes: list[int], name: str, axis: int = 1) -> list[str]:
        parts = self.constant(f"{name}.sizes", np.array(sizes, dtype=np.int64))
        return self.node("Split", [x, parts], name, outputs=len(sizes), axis=axis)

    def model(self, output: str, shape: list[int], batch: int, opset: int) -> onnx.ModelProto:
        info = helper.make_tensor_value_info
        self.nodes.append(helper.make_node("Identity", [output], ["output"], "finish"))
        graph = helper.make_graph(
            self.nodes,
            "small",
            [info("images", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
            [info("output", TensorProto.FLOAT, [batch, *shape])],
            self.initializers,
        )
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9
        )
        onnx.checker.check_model(made, full_check=True)
        return made


def small_detector(
    dfl: Dfl = "conv", *, end_to_end: bool = False, batch: int = 1, opset: int = 19
) -> onnx.ModelProto:
    """Return a detector.

    Args:
        dfl: how the integral over distances is written; none: boxes are predicted directly.
        end_to_end: top-k at the end, output (batch, 10, 6), as YOLO26 has it.
        batch: static batch.
        opset: of the graph.
    """
    b = Builder()
    p4, p8 = _backbone(b, batch)
    up = b.one(
        "Resize",
        [p8, "", b.constant("up.scales", np.array([1, 1, 2, 2], np.float32))],
        "neck/Resize",
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    n4 = b.block(b.one("Concat", [up, p4], "neck/Concat", axis=1), "neck.fuse", 64, 32, 3)
    n8 = b.one("Concat", [b.block(n4, "neck.down", 32, 16, 3, 2), p8], "neck/Concat_1", axis=1)
    sides = 4 * BINS if dfl != "none" else 4
    flat = [
        _branches(b, feature, f"head.{i}", channels, sides, batch)
        for i, (feature, channels) in enumerate([(n4, 32), (n8, 48)])
    ]
    joined = b.one("Concat", flat, "head/Concat", axis=2)
    raw, scores = b.split(joined, [sides, CLASSES], "head/Split")
    boxes = _decoded(b, _distances(b, raw, dfl, batch))
    scores = b.one("Sigmoid", [scores], "head/Sigmoid")
    output = b.one("Concat", [boxes, scores], "head/Concat_2", axis=1)
    if not end_to_end:
        return b.model(output, [4 + CLASSES, ANCHORS], batch, opset)
    return b.model(_top(b, boxes, scores), [10, 6], batch, opset)


def _backbone(b: Builder, batch: int) -> tuple[str, str]:
    x = b.block("images", "stem", 3, 16, 3, 2)
    x = b.block(x, "down4", 16, 32, 3, 2)
    first, second = b.split(b.block(x, "stage.split", 32, 32), [16, 16], "stage/Split")
    step = b.block(b.block(second, "stage.reduce", 16, 16, 3), "stage.expand", 16, 16, 3)
    residual = b.one("Add", [second, step], "stage/Add")
    joined = b.one("Concat", [first, second, residual], "stage/Concat", axis=1)
    p4 = b.block(joined, "stage.fuse", 48, 32)
    x = b.block(b.block(p4, "down8", 32, 32, 3, 2), "context.reduce", 32, 16)
    pool = {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2], "strides": [1, 1]}
    pooled = b.one("MaxPool", [x], "context/MaxPool", **pool)
    again = b.one("MaxPool", [pooled], "context/MaxPool_1", **pool)
    joined = b.one("Concat", [x, pooled, again], "context/Concat", axis=1)
    return p4, _attention(b, b.block(joined, "context.fuse", 48, 32), batch)


def _attention(b: Builder, x: str, batch: int) -> str:
    """Self-attention over the 4 x 4 cells, with a projection and a residual, as in C2PSA."""
    tokens = b.shape(b.conv(x, "attn.qkv", 32, 96), [batch, 96, 16], "attn/Reshape")
    q, k, v = b.split(tokens, [32, 32, 32], "attn/Split")
    scores = b.one("MatMul", [b.one("Transpose", [q], "attn/T", perm=[0, 2, 1]), k], "attn/MatMul")
    scale = b.constant("attn.scale", np.array(32**-0.5, np.float32))
    weights = b.one("Softmax", [b.one("Mul", [scores, scale], "attn/Mul")], "attn/Softmax", axis=-1)
    turned = b.one("Transpose", [weights], "attn/T_1", perm=[0, 2, 1])
    mixed = b.shape(b.one("MatMul", [v, turned], "attn/MatMul_1"), [batch, 32, 4, 4], "attn/Back")
    return b.one("Add", [x, b.conv(mixed, "attn.proj", 32, 32)], "attn/Add")


def _branches(b: Builder, x: str, name: str, cin: int, sides: int, batch: int) -> str:
    box = b.conv(b.block(x, f"{name}.box.0", cin, 32, 3), f"{name}.box.1", 32, sides)
    score = b.conv(b.block(x, f"{name}.cls.0", cin, 32, 3), f"{name}.cls.1", 32, CLASSES)
    both = b.one("Concat", [box, score], f"{name}/Concat", axis=1)
    return b.shape(both, [batch, sides + CLASSES, -1], f"{name}/Reshape")


def _distances(b: Builder, raw: str, dfl: Dfl, batch: int) -> str:
    if dfl == "none":
        return raw
    bins = np.arange(BINS, dtype=np.float32)
    split = b.shape(raw, [batch, 4, BINS, -1], "dfl/Reshape")
    if dfl == "conv":
        turned = b.one("Transpose", [split], "dfl/Transpose", perm=[0, 2, 1, 3])
        soft = b.one("Softmax", [turned], "dfl/Softmax", axis=1)
        weight = b.constant("dfl.conv.weight", bins.reshape(1, BINS, 1, 1))
        out = b.one("Conv", [soft, weight], "dfl/conv/Conv", kernel_shape=[1, 1])
    elif dfl == "matmul":
        turned = b.one("Transpose", [split], "dfl/Transpose", perm=[0, 1, 3, 2])
        soft = b.one("Softmax", [turned], "dfl/Softmax", axis=-1)
        out = b.one("MatMul", [soft, b.constant("dfl.project", bins)], "dfl/MatMul")
    else:
        soft = b.one("Softmax", [split], "dfl/Softmax", axis=2)
        project = b.constant("dfl.project", bins.reshape(1, 1, BINS, 1))
        weighed = b.one("Mul", [soft, project], "dfl/Mul")
        axes = b.constant("dfl.axes", np.array([2], np.int64))
        out = b.one("ReduceSum", [weighed, axes], "dfl/ReduceSum", keepdims=0)
    return b.shape(out, [batch, 4, ANCHORS], "dfl/Reshape_1")


def _decoded(b: Builder, distances: str) -> str:
    centres = b.constant("centres", b.rng.uniform(0, 8, (1, 2, ANCHORS)).astype(np.float32))
    near, far = b.split(distances, [2, 2], "decode/Split")
    low = b.one("Sub", [centres, near], "decode/Sub")
    high = b.one("Add", [centres, far], "decode/Add")
    corners = b.one("Concat", [low, high], "decode/Concat", axis=1)
    stride = b.constant("stride", np.full((1, 1, ANCHORS), 4, np.float32))
    return b.one("Mul", [corners, stride], "decode/Mul")


def _top(b: Builder, boxes: str, scores: str) -> str:
    """Keep the ten best anchors: (batch, 10, 6)."""
    best = b.one(
        "ReduceMax",
        [scores, b.constant("best.axes", np.array([1], np.int64))],
        "top/ReduceMax",
        keepdims=1,
    )
    label = b.one("ArgMax", [scores], "top/ArgMax", axis=1, keepdims=1)
    label = b.one("Cast", [label], "top/Cast", to=TensorProto.FLOAT)
    rows = b.one("Concat", [boxes, best, label], "top/Concat", axis=1)
    count = b.constant("count", np.array([10], np.int64))
    _, places = b.node("TopK", [best, count], "top/TopK", outputs=2, axis=2)
    six = b.constant("six", np.array([1, 6, 1], np.int64))
    spread = b.one("Tile", [places, six], "top/Tile")
    chosen = b.one("GatherElements", [rows, spread], "top/GatherElements", axis=2)
    return b.one("Transpose", [chosen], "top/Transpose", perm=[0, 2, 1])


def random_images(count: int, seed: int = 0) -> list[np.ndarray]:
    """Return (1, 3, 32, 32) float32 images in 0..1 of different brightness, for tests only."""
    rng = np.random.default_rng(seed)
    shape = (1, 3, SIZE, SIZE)
    return [(rng.random(shape) * rng.uniform(0.3, 1)).astype(np.float32) for _ in range(count)]
