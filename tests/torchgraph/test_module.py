"""ONNX graphs rebuilt in PyTorch give what ONNX Runtime gives."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from small_detector import random_images, small_detector

from mpj_runner.contract.errors import UserError
from mpj_runner.loading.runtime import run_onnx
from mpj_runner.torchgraph.module import GraphModule

RNG = np.random.default_rng(0)


def graph(op, constants=(), shape=(2, 4, 6, 8), outputs=1, first=("x",), before=(), **attributes):
    """Make a graph of one operator on a float32 input "x" and constants."""
    names = [f"c{i}" if c is not None else "" for i, c in enumerate(constants)]
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, [*first, *names], made, "node", **attributes)
    model = helper.make_model(
        helper.make_graph(
            [*before, node],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [onnx.ValueInfoProto(name=n) for n in made],
            [
                numpy_helper.from_array(np.asarray(c), n)
                for c, n in zip(constants, names, strict=True)
                if c is not None
            ],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    return onnx.shape_inference.infer_shapes(model)


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


PIXELS = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
DOUBLE = np.array([1, 1, 2, 2], np.float32)
CASES = {
    "Conv": graph("Conv", [weights(5, 4, 3, 3), weights(5)], pads=[1, 1, 1, 1]),
    "Conv, strided, grouped, dilated": graph(
        "Conv", [weights(4, 2, 3, 3)], group=2, strides=[2, 1], dilations=[1, 2], pads=[1, 2, 1, 2]
    ),
    "Conv, padded unevenly": graph("Conv", [weights(5, 4, 2, 2)], pads=[0, 0, 1, 1]),
    "Conv in one dimension": graph("Conv", [weights(5, 4, 3)], shape=(2, 4, 9)),
    "ConvTranspose": graph(
        "ConvTranspose", [weights(4, 3, 3, 3), weights(3)], strides=[2, 2], pads=[1, 1, 1, 1],
        output_padding=[1, 1],
    ),
    "ConvTranspose, grouped": graph(
        "ConvTranspose", [weights(4, 3, 2, 2)], group=2, strides=[2, 2]
    ),
    "Gemm": graph("Gemm", [weights(5, 8), weights(5)], shape=(3, 8), transB=1),
    "Gemm, not flipped": graph("Gemm", [weights(8, 5), weights(1, 5)], shape=(3, 8)),
    "Gemm, scaled": graph(
        "Gemm", [weights(8, 5), weights(3, 5)], shape=(3, 8), alpha=0.5, beta=2.0
    ),
    "MatMul": graph("MatMul", [weights(8, 5)]),
    "MatMul, batched": graph("MatMul", [weights(4, 8, 5)]),
    "Add": graph("Add", [weights(1, 4, 1, 1)]),
    "Div": graph("Div", [weights(8) + 3]),
    "Mul": graph("Mul", [weights(1)]),
    "Pow": graph("Pow", [np.float32(2)]),
    "Max of three": graph("Max", [weights(8), weights(6, 1)]),
    "Min": graph("Min", [weights(8)]),
    "Clip": graph("Clip", [np.float32(-0.5), np.float32(0.5)]),
    "Clip, open below": graph("Clip", [None, np.float32(0.5)]),
    "PRelu": graph("PRelu", [weights(4, 1, 1)]),
    "Cast": graph("Cast", to=TensorProto.INT64),
    "Where": graph(
        "Where", [weights(8)], first=("b", "x"),
        before=[helper.make_node("Cast", ["x"], ["b"], "cast", to=TensorProto.BOOL)],
    ),
    "Concat": graph("Concat", [weights(2, 3, 6, 8)], axis=1),
    "Split": graph("Split", [ints(1, 3)], outputs=2, axis=1),
    "Split, evenly": graph("Split", outputs=3, axis=3, num_outputs=3),
    "Slice": graph("Slice", [ints(1, -6), ints(5, -1), ints(2, 3), ints(2, 1)]),
    "Slice, backwards": graph("Slice", [ints(-1), ints(-100), ints(3), ints(-2)]),
    "Reshape": graph("Reshape", [ints(0, -1, 8)]),
    "Flatten": graph("Flatten", axis=2),
    "Transpose": graph("Transpose", perm=[0, 2, 3, 1]),
    "Squeeze": graph("Squeeze", [ints(1)], shape=(2, 1, 6)),
    "Unsqueeze": graph("Unsqueeze", [ints(0, -1)]),
    "Expand": graph("Expand", [ints(3, 1, 4, 1, 8)], shape=(4, 6, 8)),
    "Tile": graph("Tile", [ints(1, 2, 1, 3)]),
    "Pad": graph("Pad", [ints(0, 0, 1, 2, 0, 0, 0, 1), np.float32(2)]),
    "Pad, reflected": graph("Pad", [ints(0, 0, 1, 2, 0, 0, 0, 1)], mode="reflect"),
    "Gather": graph("Gather", [ints(2, -1, 0)], axis=1),
    "Gather, one": graph("Gather", [np.array(1)], axis=2),
    "GatherElements": graph("GatherElements", [RNG.integers(-4, 4, (2, 3, 6, 8))], axis=1),
    "TopK": graph("TopK", [ints(3)], outputs=2, axis=3),
    "TopK, smallest": graph("TopK", [ints(2)], outputs=2, axis=2, largest=0),
    "ArgMax": graph("ArgMax", axis=1, keepdims=0),
    "MaxPool": graph("MaxPool", kernel_shape=[5, 5], pads=[2, 2, 2, 2], strides=[1, 1]),
    "MaxPool, ceiling": graph("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "MaxPool, padded unevenly": graph("MaxPool", kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
    "AveragePool": graph("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "AveragePool, with padding": graph(
        "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "GlobalAveragePool": graph("GlobalAveragePool"),
    "GlobalMaxPool": graph("GlobalMaxPool"),
    "ReduceMax": graph("ReduceMax", [ints(1)], keepdims=0),
    "ReduceMean of all": graph("ReduceMean"),
    "ReduceSum": graph("ReduceSum", [ints(2, 3)]),
    "ReduceL2": graph("ReduceL2", [ints(1)]),
    "Softmax": graph("Softmax", axis=1),
    "BatchNormalization": graph(
        "BatchNormalization", [weights(4), weights(4), weights(4), weights(4) ** 2 + 0.1]
    ),
    "InstanceNormalization": graph("InstanceNormalization", [weights(4), weights(4)]),
    "LayerNormalization": graph("LayerNormalization", [weights(8), weights(8)]),
    "Resize, nearest": graph("Resize", [None, DOUBLE], mode="nearest", **PIXELS),
    "Resize, centred": graph("Resize", [None, DOUBLE], mode="nearest"),
    "Resize, to a size": graph(
        "Resize", [None, None, ints(2, 4, 9, 16)], mode="nearest", **PIXELS
    ),
    "Resize, linear": graph("Resize", [None, DOUBLE], mode="linear"),
    "Resize, corners": graph(
        "Resize", [None, None, ints(2, 4, 11, 15)], mode="linear",
        coordinate_transformation_mode="align_corners",
    ),
    "Einsum": graph("Einsum", [weights(3, 4)], equation="bchw,oc->bohw"),
    **{
        op: graph(op)
        for op in (
            "Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish",
            "Identity", "LeakyRelu", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sin",
            "Softplus", "Tanh", "Shape",
        )
    },
}  # fmt: skip


def outputs_of(model, images):
    with torch.inference_mode():
        y = GraphModule(model)(torch.from_numpy(images))
    return [t.numpy() for t in (y if isinstance(y, tuple) else (y,))]


@pytest.mark.parametrize("model", CASES.values(), ids=CASES.keys())
def test_operator_equals_onnx_runtime(model):
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    images = RNG.normal(size=shape).astype(np.float32)
    expected = list(run_onnx(model, images).values())
    for y, e in zip(outputs_of(model, images), expected, strict=True):
        assert (y.shape, y.dtype) == (e.shape, e.dtype)
        np.testing.assert_allclose(y, e, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dfl", ["conv", "matmul", "sum", "none"])
@pytest.mark.parametrize("end_to_end", [False, True])
def test_detector_equals_onnx_runtime(dfl, end_to_end):
    model = small_detector(dfl, end_to_end=end_to_end)
    for images in random_images(3):
        (y,) = outputs_of(model, images)
        np.testing.assert_allclose(y, run_onnx(model, images)["output"], atol=1e-4, rtol=1e-4)


def test_layers_are_named_after_their_nodes():
    module = GraphModule(small_detector())
    modules = dict(module.named_modules())
    assert "stem/Conv" in module.layer_nodes.values()
    assert all(hasattr(modules[name], "weight") for name in module.layer_nodes)
    kinds = {type(modules[name]) for name in module.layer_nodes}
    assert kinds == {torch.nn.Conv2d}


def test_only_what_selected_outputs_need_is_computed():
    module = GraphModule(small_detector())
    module.select(["stage.fuse/Conv_out"])
    assert "head.0.box.1/Conv" not in {module.layer_nodes[n] for n in module.computed}
    assert module(torch.from_numpy(random_images(1)[0])).shape == (1, 32, 8, 8)


def test_images_may_come_in_larger_batches():
    module = GraphModule(small_detector())
    images = np.concatenate(random_images(3))
    with torch.inference_mode():
        together = module(torch.from_numpy(images))
        alone = [module(torch.from_numpy(x[None])) for x in images]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_gradients_reach_every_layer():
    module = GraphModule(small_detector())
    module(torch.from_numpy(random_images(1)[0])).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param(
            graph("LpNormalization"), r"operator LpNormalization .*\"node\"", id="an operator"
        ),
        pytest.param(
            graph("Conv", [weights(5, 4, 3, 3)], auto_pad="SAME_UPPER"), "auto_pad", id="auto_pad"
        ),
        pytest.param(graph("Resize", [None, DOUBLE], mode="cubic"), "mode cubic", id="cubic"),
        pytest.param(
            graph("Cast", to=TensorProto.BFLOAT16), "type BFLOAT16", id="a type"
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_rebuilt_is_named(model, words):
    with pytest.raises(UserError, match=words):
        GraphModule(model)
