import re

import pytest
from onnx import TensorProto, helper

from mpj_runner.graph.names import name_nodes, pattern_of


def chain(*names: str):
    nodes = [
        helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"], name) for i, name in enumerate(names)
    ]
    info = helper.make_tensor_value_info
    ends = [info(x, TensorProto.FLOAT, [1]) for x in ("t0", f"t{len(names)}")]
    return helper.make_model(helper.make_graph(nodes, "chain", ends[:1], ends[1:]))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(("a", "b"), ("a", "b"), id="unique names stay"),
        pytest.param(("", "b"), ("Relu_0", "b"), id="a nameless node gets one"),
        pytest.param(("a", "a", "a"), ("a", "a_1", "a_2"), id="the first bearer keeps its name"),
        pytest.param(("", "Relu_0"), ("Relu_0_1", "Relu_0"), id="a given name is not taken"),
        pytest.param(("a", "a", "a_1"), ("a", "a_2", "a_1"), id="nor is a later one"),
    ],
)
def test_names_become_unique(names, expected):
    model = chain(*names)
    named = name_nodes(model)
    assert tuple(x.name for x in named.graph.node) == expected
    assert tuple(x.name for x in model.graph.node) == names, "the input is not changed"


def test_a_well_named_model_is_returned_as_it_is():
    model = chain("a", "b")
    assert name_nodes(model) is model


def test_pattern_takes_no_neighbour():
    names = ["model.2/Conv", "model.22/Conv", "modelx2/Conv", "model.2/Conv_1", "a(b)|c"]
    pattern = pattern_of(["model.2/Conv", "a(b)|c"])
    assert [x for x in names if re.match(pattern, x)] == ["model.2/Conv", "a(b)|c"]
