"""The head is found in the graph: whichever exporter wrote it, whichever way DFL is written."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_detector import Builder, small_detector

from mpj_runner.graph.head import find_head
from mpj_runner.graph.layers import layers_of
from mpj_runner.graph.names import name_nodes
from mpj_runner.graph.view import GraphView

OUTPUTS = ("head.0.box.1/Conv", "head.0.cls.1/Conv", "head.1.box.1/Conv", "head.1.cls.1/Conv")


@pytest.mark.parametrize(
    ("model", "outputs", "dfl"),
    [
        pytest.param(
            small_detector("conv"), OUTPUTS, ("dfl/Softmax", "dfl/conv/Conv"), id="DFL as Conv"
        ),
        pytest.param(
            small_detector("matmul"), OUTPUTS, ("dfl/Softmax", "dfl/MatMul"), id="DFL as MatMul"
        ),
        pytest.param(
            small_detector("sum"),
            OUTPUTS,
            ("dfl/Softmax", "dfl/Mul", "dfl/ReduceSum"),
            id="DFL as weighted sum",
        ),
        pytest.param(small_detector("none"), OUTPUTS, (), id="no DFL"),
        pytest.param(small_detector("none", end_to_end=True), OUTPUTS, (), id="no DFL, end to end"),
        pytest.param(
            small_detector("conv", end_to_end=True),
            OUTPUTS,
            ("dfl/Softmax", "dfl/conv/Conv"),
            id="DFL, end to end",
        ),
    ],
)
def test_finds_outputs_and_dfl(model, outputs, dfl):
    head = find_head(GraphView(model))
    assert head.outputs == outputs
    assert head.dfl == dfl
    assert "decode/Mul" in head.decoding
    assert not set(head.outputs) & set(head.decoding)


def test_attention_and_its_softmax_are_no_head():
    head = find_head(GraphView(small_detector()))
    assert not [x for x in head.nodes if x.startswith(("attn", "stage", "neck", "context"))]


def test_everything_of_the_head_is_in_one_member():
    model = small_detector()
    head = find_head(GraphView(model))
    assert len(head.nodes) == len(set(head.nodes))
    behind = [x.name for x in model.graph.node if x.name.startswith(("decode", "dfl", "finish"))]
    assert set(behind) <= set(head.nodes)


def closing(layer, b: Builder | None = None) -> GraphView:
    """A two-layer graph whose second layer is followed by what ``layer`` appends."""
    b = b or Builder()
    x = b.block("images", "body", 3, 16, 3)
    y = layer(b, b.conv(x, "last", 16, 8))
    return GraphView(b.model(y, [None, None, None], 1, 19))


def boxes_of_matrix(b: Builder, x: str) -> str:
    """Convert centre and size to corners by a 4 x 4 matrix, as some exports do."""
    rows = b.one("Transpose", [b.shape(x, [1, 2, 4, -1], "rows")], "turn", perm=[0, 1, 3, 2])
    matrix = b.constant("matrix", np.eye(4, dtype=np.float32))
    return b.one("MatMul", [rows, matrix], "convert")


@pytest.mark.parametrize(
    ("layer", "outputs"),
    [
        pytest.param(lambda b, x: x, ("last/Conv",), id="nothing"),
        pytest.param(lambda b, x: b.one("Sigmoid", [x], "s"), ("last/Conv",), id="sigmoid"),
        pytest.param(boxes_of_matrix, ("last/Conv",), id="a box matrix is no layer of its own"),
        pytest.param(
            lambda b, x: b.one("Relu", [x], "r"), ("last/Conv",), id="activated, nothing else left"
        ),
        pytest.param(
            lambda b, x: b.conv(b.one("MaxPool", [x], "p", kernel_shape=[1, 1]), "more", 8, 8),
            ("more/Conv",),
            id="another layer behind",
        ),
    ],
)
def test_last_layers(layer, outputs):
    assert find_head(closing(layer)).outputs == outputs


def test_an_activated_last_layer_is_no_head_beside_a_bare_one():
    b = Builder()
    x = b.block("images", "body", 3, 16, 3)
    masks, boxes = b.block(x, "masks", 16, 8), b.conv(x, "boxes", 16, 8)
    y = b.one("Concat", [masks, boxes], "join", axis=1)
    assert find_head(GraphView(b.model(y, [16, None, None], 1, 19))).outputs == ("boxes/Conv",)


def test_softmax_over_classes_is_no_dfl():
    def classify(b: Builder, x: str) -> str:
        soft = b.one("Softmax", [x], "soft", axis=1)
        scale = b.constant("scale", np.full((1, 8, 1, 1), 2, np.float32))
        return b.one("Mul", [soft, scale], "scaled")

    head = find_head(closing(classify))
    assert head.dfl == ()
    assert head.outputs == ("last/Conv",)


def test_a_graph_without_layers_has_no_head():
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], "relu")],
        "g",
        [info("x", TensorProto.FLOAT, [1])],
        [info("y", TensorProto.FLOAT, [1])],
    )
    assert find_head(GraphView(helper.make_model(graph))).nodes == ()


def test_layers_are_those_with_weights():
    layers = {x.name: x for x in layers_of(GraphView(small_detector()))}
    assert "attn/MatMul" not in layers, "a product of two activations is no layer"
    assert layers["stem/Conv"].shape == (16, 3, 3, 3)
    assert layers["stem/Conv"].elements == 432
    assert layers["stem/Conv"].activation == "images"
    assert len(layers) == 22


def test_constants_are_seen_through_their_exporters_detours():
    b = Builder()
    weight = numpy_helper.from_array(b.rng.normal(size=(8, 3, 1, 1)).astype(np.float16))
    b.nodes.append(helper.make_node("Constant", [], ["half"], "c", value=weight))
    b.nodes.append(helper.make_node("Cast", ["half"], ["full"], "cast", to=TensorProto.FLOAT))
    y = b.one("Conv", ["images", "full"], "conv", kernel_shape=[1, 1])
    view = GraphView(b.model(y, [8, 32, 32], 1, 19))
    (layer,) = layers_of(view)
    assert layer.shape == (8, 3, 1, 1)
    assert view.value("full").dtype == np.float16


@pytest.fixture(scope="module")
def demo():
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples/demo"))
    try:
        import detector
    finally:
        sys.path.pop(0)
    return detector.build().eval()


@pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "dynamo"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporters, in torch itself
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_demo_detector_of_both_exporters(demo, dynamo, tmp_path):
    import torch

    path = tmp_path / "demo.onnx"
    opset = 20 if dynamo else 17
    torch.onnx.export(
        demo, (torch.rand(1, 3, 64, 64),), str(path), dynamo=dynamo, opset_version=opset
    )
    model = name_nodes(onnx.load(path))
    view = GraphView(model)
    head = find_head(view)
    shapes = sorted(x.shape[0] for x in layers_of(view) if x.name in head.outputs)
    assert shapes == [10, 10, 10, 64, 64, 64], "three class and three box convolutions"
    assert len(head.dfl) == 2
    assert len(layers_of(view)) == 70
