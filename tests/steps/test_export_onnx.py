"""The export step on ONNX files: what it makes of good ones, and why it refuses others."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from exported import SIZE, export, message
from onnx import TensorProto, helper
from small_detector import small_detector

from mpj_runner.contract.model import Preprocess
from mpj_runner.loading.runtime import probe, run_onnx


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "given.onnx")
    return folder / "given.onnx"


def dynamic(model: onnx.ModelProto, *positions: int) -> onnx.ModelProto:
    """Make dimensions of the input dynamic, and forget what was inferred from them."""
    for position in positions:
        dim = model.graph.input[0].type.tensor_type.shape.dim[position]
        dim.Clear()
        dim.dim_param = f"d{position}"
    del model.graph.value_info[:]
    return model


@pytest.mark.parametrize("positions", [(), (0,), (2, 3), (0, 2, 3)])
def test_dynamic_shapes_are_fixed_by_the_spec(positions, tmp_path):
    source = saved(dynamic(small_detector(), *positions), tmp_path)
    size = {"height": 32, "width": 32}
    graph, metadata, _ = export(source, tmp_path / "w", format="onnx", input_size=size)
    dims = graph.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims] == [1, 3, 32, 32]
    assert (metadata.output_name, metadata.class_count) == ("output", 3)


def test_graph_computes_what_it_computed(tmp_path):
    model = small_detector()
    graph, _, _ = export(saved(model, tmp_path), tmp_path / "w", format="onnx")
    images = probe((1, 3, 32, 32), Preprocess())
    before, after = (run_onnx(m, images)["output"] for m in (model, graph))
    np.testing.assert_allclose(after, before, atol=1e-5, rtol=1e-5)
    assert {n.name for n in graph.graph.node} <= {n.name for n in model.graph.node}


def test_old_operator_sets_are_raised(tmp_path):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [7, 3, 8, 8], [0.01] * 7 * 3 * 64)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv", strides=[8, 8]),
            helper.make_node("Reshape", ["c", "s"], ["y"], "shape"),
        ],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 7, 16])],
        [weight, helper.make_tensor("s", TensorProto.INT64, [3], [1, 7, 16])],
    )
    opset = [helper.make_opsetid("", 11)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=6)
    made, metadata, _ = export(saved(model, tmp_path), tmp_path / "w", format="onnx")
    assert metadata.opset == made.opset_import[0].version == 13
    images = probe((1, 3, 32, 32), Preprocess())
    np.testing.assert_allclose(run_onnx(made, images)["y"], run_onnx(model, images)["y"], 1e-6)


def test_end_to_end_output_needs_its_classes(tmp_path):
    source = saved(small_detector(end_to_end=True), tmp_path)
    params = {"format": "onnx", "decoder": "EndToEnd"}
    assert "set spec.model.classes" in message(source, tmp_path / "1", **params)
    _, metadata, _ = export(source, tmp_path / "2", **params, classes=("a", "b", "c"))
    assert (metadata.decoder, metadata.class_count) == ("EndToEnd", 3)


def test_class_names_come_from_the_exporters_metadata(tmp_path):
    model = small_detector()
    model.metadata_props.add(key="names", value="{0: 'cat', 1: 'dog', 2: 'owl'}")
    _, metadata, _ = export(saved(model, tmp_path), tmp_path / "w", format="onnx")
    assert metadata.classes == ("cat", "dog", "owl")


def test_quantized_graphs_keep_their_pairs(tmp_path):
    model = small_detector()
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [0.01])
    zero = helper.make_tensor("zero", TensorProto.INT8, [], [0])
    model.graph.initializer.extend([scale, zero])
    stem = next(n for n in model.graph.node if n.name == "stem/Conv")
    pair = [
        helper.make_node("QuantizeLinear", [stem.input[1], "scale", "zero"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], "dq"),
    ]
    stem.input[1] = "dq"
    nodes = [*pair, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    graph, _, _ = export(saved(model, tmp_path), tmp_path / "w", format="onnx")
    assert [n.op_type for n in graph.graph.node][:2] == ["QuantizeLinear", "DequantizeLinear"]


@pytest.mark.parametrize(
    ("change", "params", "words"),
    [
        pytest.param(
            lambda m: dynamic(m, 2, 3), {}, ["dynamic height", "spec.model.inputSize"],
            id="dynamic size and none given",
        ),
        pytest.param(
            lambda m: m, {"input_size": SIZE}, ["static height of 32", "inputSize.height 64"],
            id="another static size",
        ),
        pytest.param(
            lambda m: m, {"batch_size": 4}, ["static batch of 1", "spec.target.batchSize 4"],
            id="another static batch",
        ),
        pytest.param(
            lambda m: dynamic(m, 2, 3), {"input_size": SIZE}, ["cannot run", "64x96", "baked"],
            id="sizes of another input inside",
        ),
        pytest.param(
            lambda m: m, {"decoder": "EndToEnd"}, ["spec.model.decoder EndToEnd", "[1, 7, 80]"],
            id="another decoder",
        ),
        pytest.param(
            lambda m: m, {"classes": ("a", "b")}, ["spec.model.classes has 2", "3 classes"],
            id="another number of classes",
        ),
    ],
)  # fmt: skip
def test_a_spec_that_disagrees_is_refused(change, params, words, tmp_path):
    source = saved(change(small_detector()), tmp_path)
    said = message(source, tmp_path / "w", format="onnx", **params)
    assert all(word in said for word in words), said


def test_an_end_to_end_graph_is_not_taken_for_yolo(tmp_path):
    said = message(saved(small_detector(end_to_end=True), tmp_path), tmp_path / "w", format="onnx")
    assert "spec.model.decoder: EndToEnd" in said


def test_unknown_operators_are_named_with_their_nodes(tmp_path):
    model = small_detector()
    model.graph.node[3].op_type, model.graph.node[3].domain = "EfficientNMS_TRT", "trt"
    model.graph.node[5].op_type = "Conv9000"
    said = message(saved(model, tmp_path), tmp_path / "w", format="onnx")
    assert f'trt:EfficientNMS_TRT (node "{model.graph.node[3].name}")' in said
    assert f'ai.onnx:Conv9000 (node "{model.graph.node[5].name}")' in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            lambda i: setattr(i.type.tensor_type, "elem_type", TensorProto.FLOAT16),
            ["float16", "half=False"],
            id="half precision",
        ),
        pytest.param(
            lambda i: i.type.tensor_type.shape.dim.pop(),
            ["3 dimensions"],
            id="three dimensions",
        ),
        pytest.param(
            lambda i: [
                setattr(i.type.tensor_type.shape.dim[k], "dim_value", v)
                for k, v in ((1, 32), (3, 3))
            ],
            ["channels last"],
            id="channels last",
        ),
    ],
)
def test_an_input_that_is_no_image_is_refused(change, words, tmp_path):
    model = small_detector()
    change(model.graph.input[0])
    said = message(saved(model, tmp_path), tmp_path / "w", format="onnx")
    assert all(word in said for word in words), said


def test_two_inputs_are_refused_by_name(tmp_path):
    model = small_detector()
    extra = helper.make_tensor_value_info("sizes", TensorProto.FLOAT, [1, 2])
    model.graph.input.append(extra)
    said = message(saved(model, tmp_path), tmp_path / "w", format="onnx")
    assert "2 inputs (images, sizes)" in said


@pytest.mark.parametrize(("part", "word"), [(0.0, "is empty"), (0.5, "truncated")])
def test_broken_files_are_refused(part, word, tmp_path):
    source = saved(small_detector(), tmp_path)
    data = source.read_bytes()
    source.write_bytes(data[: int(len(data) * part)])
    said = message(source, tmp_path / "w", format="onnx")
    assert word in said
    assert "spec.model.uri" in said


def test_weights_in_a_second_file_are_refused(tmp_path):
    onnx.save(
        small_detector(), tmp_path / "given.onnx", save_as_external_data=True, size_threshold=16
    )
    said = message(tmp_path / "given.onnx", tmp_path / "w", format="onnx")
    assert "second file" in said
