"""The export step on state dicts: what it makes of good ones, and why it refuses others."""

import hashlib
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import SIZE, export, message
from tiny_factory import tiny_module, write_tiny

from mpj_runner.contract.steps import ExportOutcome
from mpj_runner.loading.runtime import run_onnx

TINY = {"format": "torch", "factory": "tiny:build", "input_size": SIZE}


@pytest.fixture
def tiny(tmp_path) -> Path:
    return write_tiny(tmp_path)


def test_graph_computes_what_the_module_computes(tiny, tmp_path):
    graph, metadata, outcome = export(tiny, tmp_path / "w", **TINY, batch_size=2)
    images = np.random.default_rng(5).random((2, 3, 64, 96), dtype=np.float32)
    with torch.no_grad():
        expected = tiny_module()(torch.from_numpy(images)).numpy()
    y = run_onnx(graph, images)[metadata.output_name]
    np.testing.assert_allclose(y[:, :4], expected[:, :4], atol=1e-3, rtol=0)
    np.testing.assert_allclose(y[:, 4:], expected[:, 4:], atol=1e-5, rtol=0)
    assert outcome == ExportOutcome(class_count=3, opset=19)
    assert (metadata.batch_size, metadata.class_count, metadata.opset) == (2, 3, 19)


def test_batch_norm_is_folded_and_nodes_are_named_after_modules(tiny, tmp_path):
    graph, _, _ = export(tiny, tmp_path / "w", **TINY)
    names = [node.name for node in graph.graph.node]
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    assert names[0] == "/model/model.0/conv/Conv"
    assert {"/up/ConvTranspose", "/head/Conv"} < set(names)
    assert len(set(names)) == len(names)


def test_shapes_are_static(tiny, tmp_path):
    graph, _, _ = export(tiny, tmp_path / "w", **TINY, batch_size=3)
    shapes = [
        [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    ]
    assert shapes == [[3, 3, 64, 96], [3, 7, 96]]


def test_same_input_gives_the_same_bytes_wherever_it_lies(tiny, tmp_path):
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        source = write_tiny(tmp_path / name)
        export(source, tmp_path / name / "w", **TINY)
        digests.add(hashlib.sha256((tmp_path / name / "w/model.onnx").read_bytes()).digest())
    assert len(digests) == 1


def test_exported_graph_exports_to_itself(tiny, tmp_path):
    export(tiny, tmp_path / "w", **TINY)
    export(tmp_path / "w/model.onnx", tmp_path / "again", format="onnx")
    first, second = (tmp_path / w / "model.onnx" for w in ("w", "again"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("factory", ["tupled", "named"])
def test_what_is_returned_beside_detections_is_dropped(factory, tiny, tmp_path):
    graph, _, _ = export(tiny, tmp_path / "w", **{**TINY, "factory": f"tiny:{factory}"})
    plain, _, _ = export(tiny, tmp_path / "plain", **TINY)
    assert graph.SerializeToString() == plain.SerializeToString()


def test_classes_come_from_the_spec_then_the_file_then_the_module(tiny, tmp_path):
    state = torch.load(tiny, weights_only=True)
    torch.save({"state_dict": state, "classes": ["a", "b", "c"]}, tmp_path / "named.pt")
    named = {**TINY, "factory": "tiny:named"}
    seen = [
        export(tiny, tmp_path / "1", **TINY)[1].classes,
        export(tiny, tmp_path / "2", **named)[1].classes,
        export(tmp_path / "named.pt", tmp_path / "3", **named)[1].classes,
        export(tmp_path / "named.pt", tmp_path / "4", **named, classes=("x", "y", "z"))[1].classes,
    ]
    assert seen == [None, ("cat", "dog", "owl"), ("a", "b", "c"), ("x", "y", "z")]


def test_weights_saved_from_data_parallel_training_fit(tiny, tmp_path):
    state = torch.load(tiny, weights_only=True)
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "ddp.pt")
    graph, _, _ = export(tmp_path / "ddp.pt", tmp_path / "w", **TINY)
    plain, _, _ = export(tiny, tmp_path / "plain", **TINY)
    assert graph.SerializeToString() == plain.SerializeToString()


def test_a_folder_with_weights_and_factory_is_a_model(tmp_path):
    (tmp_path / "model").mkdir()
    write_tiny(tmp_path / "model", module="another")
    source = tmp_path / "model"
    params = {**TINY, "factory": "another:build"}
    assert export(source, tmp_path / "w", **params)[2].class_count == 3


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        pytest.param(None, ["spec.model.factory", "package.module:function"], id="none given"),
        pytest.param("tiny", ["spec.model.factory"], id="no function named"),
        pytest.param("absent:build", ["absent", "beside the model file"], id="no such module"),
        pytest.param("tiny:absent", ['no function "absent"'], id="no such function"),
        pytest.param("tiny:fails", ["tiny:fails() fails", "no such backbone"], id="it raises"),
        pytest.param("tiny:nothing", ["returned int", "nn.Module"], id="returns no module"),
        pytest.param("tiny:wide", ["of another shape", "head.weight"], id="other shapes"),
        pytest.param("tiny:bad", ["dict", "tensor was expected"], id="returns a dict"),
        pytest.param("tiny:transposed", ["anchors before its channels"], id="transposed"),
        pytest.param("tiny:depends", ["does not compute what the model"], id="traced wrongly"),
        pytest.param(
            "tiny:unexportable", ["cannot be exported", "format: onnx"], id="unknown operator"
        ),
    ],
)
def test_a_factory_that_does_not_fit_is_named(factory, words, tiny, tmp_path):
    said = message(tiny, tmp_path / "w", **{**TINY, "factory": factory})
    assert all(word in said for word in words), said


def test_keys_that_do_not_match_are_named(tiny, tmp_path):
    state = torch.load(tiny, weights_only=True)
    state["neck.weight"] = state.pop("head.bias")
    torch.save(state, tiny)
    said = message(tiny, tmp_path / "w", **TINY)
    assert "1 missing in the file: head.bias" in said
    assert "1 unknown to the module: neck.weight" in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("module", ["pickle", "state dict", "model.state_dict()"], id="a module"),
        pytest.param("plain", ["pickle", "state dict"], id="an old-style pickle"),
        pytest.param("cut", ["truncated"], id="cut in half"),
        pytest.param("text", ["truncated or no PyTorch file"], id="text"),
        pytest.param("empty", ["is empty"], id="empty"),
        pytest.param("tensor", ["no state dict"], id="a lone tensor"),
        pytest.param("optimizer", ["no state dict"], id="a mapping of other things"),
    ],
)
def test_a_file_that_is_no_state_dict_is_refused(content, words, tiny, tmp_path):
    whole = tiny.read_bytes()
    if content == "module":
        torch.save(torch.nn.Linear(2, 2), tiny)
    elif content == "tensor":
        torch.save(torch.zeros(2), tiny)
    elif content == "optimizer":
        torch.save({"lr": 0.1, "steps": 3}, tiny)
    else:
        data = {
            "plain": pickle.dumps(Path("x"), protocol=2),
            "cut": whole[: len(whole) // 2],
            "text": b"not a model, but long enough to be one" * 9,
            "empty": b"",
        }[content]
        tiny.write_bytes(data)
    said = message(tiny, tmp_path / "w", **TINY)
    assert "spec.model.uri" in said
    assert all(word in said for word in words), said


def test_a_class_list_of_another_length_is_refused(tiny, tmp_path):
    said = message(tiny, tmp_path / "w", **TINY, classes=("a", "b"))
    assert "spec.model.classes has 2 names" in said
    assert "3 classes" in said


def test_nothing_of_the_user_stays_imported(tiny, tmp_path):
    path = list(sys.path)
    export(tiny, tmp_path / "w", **TINY)
    assert "tiny" not in sys.modules
    assert sys.path == path
