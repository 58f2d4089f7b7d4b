"""The export step on models of every format, good and bad."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from small_detector import small_detector
from tiny_factory import tiny_module, write_tiny

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import ModelMetadata, Preprocess
from mpj_runner.contract.steps import ExportOutcome, ExportParams
from mpj_runner.loading.runtime import probe, run_onnx
from mpj_runner.steps.export import run

SIZE = {"height": 64, "width": 96}
TINY = {"format": "torch", "factory": "tiny:build", "input_size": SIZE}


def export(source: Path, work: Path, **params):
    """Run the step in a fresh folder and return (graph, metadata, outcome)."""
    work.mkdir()
    result = run(ExportParams(**params), {"model": source}, work)
    metadata = ModelMetadata.model_validate_json(result.files["metadata"].read_bytes())
    return onnx.load(result.files["model"]), metadata, result.outcome


def message(source: Path, work: Path, **params) -> str:
    """Return the words of the UserError that the step ends with."""
    work.mkdir()
    with pytest.raises(UserError) as caught:
        run(ExportParams(**params), {"model": source}, work)
    assert list(work.iterdir()) == []
    return str(caught.value)


@pytest.fixture
def tiny(tmp_path) -> Path:
    return write_tiny(tmp_path)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "given.onnx")
    return folder / "given.onnx"


class TestTorch:
    def test_graph_computes_what_the_module_computes(self, tiny, tmp_path):
        graph, metadata, outcome = export(tiny, tmp_path / "w", **TINY, batch_size=2)
        images = np.random.default_rng(5).random((2, 3, 64, 96), dtype=np.float32)
        with torch.no_grad():
            expected = tiny_module()(torch.from_numpy(images)).numpy()
        y = run_onnx(graph, images)[metadata.output_name]
        np.testing.assert_allclose(y[:, :4], expected[:, :4], atol=1e-3, rtol=0)
        np.testing.assert_allclose(y[:, 4:], expected[:, 4:], atol=1e-5, rtol=0)
        assert outcome == ExportOutcome(class_count=3, opset=19)
        assert (metadata.batch_size, metadata.class_count, metadata.opset) == (2, 3, 19)

    def test_batch_norm_is_folded_and_nodes_are_named_after_modules(self, tiny, tmp_path):
        graph, _, _ = export(tiny, tmp_path / "w", **TINY)
        names = [node.name for node in graph.graph.node]
        assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
        assert names[:3] == ["/model/model.0/conv/Conv", *names[1:3]]
        assert {"/up/ConvTranspose", "/head/Conv"} < set(names)
        assert len(set(names)) == len(names)

    def test_shapes_are_static(self, tiny, tmp_path):
        graph, _, _ = export(tiny, tmp_path / "w", **TINY, batch_size=3)
        shapes = [
            [d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in (*graph.graph.input, *graph.graph.output)
        ]
        assert shapes == [[3, 3, 64, 96], [3, 7, 96]]

    def test_same_input_gives_the_same_bytes_wherever_it_lies(self, tiny, tmp_path):
        digests = set()
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            source = write_tiny(tmp_path / name)
            export(source, tmp_path / name / "w", **TINY)
            digests.add(hashlib.sha256((tmp_path / name / "w/model.onnx").read_bytes()).digest())
        assert len(digests) == 1

    def test_exported_graph_exports_to_itself(self, tiny, tmp_path):
        export(tiny, tmp_path / "w", **TINY)
        export(tmp_path / "w/model.onnx", tmp_path / "again", format="onnx")
        first, second = (tmp_path / w / "model.onnx" for w in ("w", "again"))
        assert first.read_bytes() == second.read_bytes()

    @pytest.mark.parametrize("factory", ["tupled", "named"])
    def test_what_is_returned_beside_detections_is_dropped(self, factory, tiny, tmp_path):
        graph, _, _ = export(tiny, tmp_path / "w", **{**TINY, "factory": f"tiny:{factory}"})
        plain, _, _ = export(tiny, tmp_path / "plain", **TINY)
        assert graph.SerializeToString() == plain.SerializeToString()

    def test_classes_come_from_the_spec_then_the_file_then_the_module(self, tiny, tmp_path):
        state = torch.load(tiny, weights_only=True)
        torch.save({"state_dict": state, "classes": ["a", "b", "c"]}, tmp_path / "named.pt")
        named = {**TINY, "factory": "tiny:named"}
        seen = [
            export(tiny, tmp_path / "1", **TINY)[1].classes,
            export(tiny, tmp_path / "2", **named)[1].classes,
            export(tmp_path / "named.pt", tmp_path / "3", **named)[1].classes,
            export(tmp_path / "named.pt", tmp_path / "4", **named, classes=("x", "y", "z"))[
                1
            ].classes,
        ]
        assert seen == [None, ("cat", "dog", "owl"), ("a", "b", "c"), ("x", "y", "z")]

    def test_weights_saved_from_data_parallel_training_fit(self, tiny, tmp_path):
        state = torch.load(tiny, weights_only=True)
        torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "ddp.pt")
        graph, _, _ = export(tmp_path / "ddp.pt", tmp_path / "w", **TINY)
        plain, _, _ = export(tiny, tmp_path / "plain", **TINY)
        assert graph.SerializeToString() == plain.SerializeToString()

    def test_a_folder_with_weights_and_factory_is_a_model(self, tmp_path):
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
    def test_a_factory_that_does_not_fit_is_named(self, factory, words, tiny, tmp_path):
        said = message(tiny, tmp_path / "w", **{**TINY, "factory": factory})
        assert all(word in said for word in words), said

    def test_keys_that_do_not_match_are_named(self, tiny, tmp_path):
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
    def test_a_file_that_is_no_state_dict_is_refused(self, content, words, tiny, tmp_path):
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

    def test_a_class_list_of_another_length_is_refused(self, tiny, tmp_path):
        said = message(tiny, tmp_path / "w", **TINY, classes=("a", "b"))
        assert "spec.model.classes has 2 names" in said
        assert "3 classes" in said

    def test_nothing_of_the_user_stays_imported(self, tiny, tmp_path):
        import sys

        path = list(sys.path)
        export(tiny, tmp_path / "w", **TINY)
        assert "tiny" not in sys.modules
        assert sys.path == path


def dynamic(model: onnx.ModelProto, *positions: int) -> onnx.ModelProto:
    """Make dimensions of the input dynamic, and forget what was inferred from them."""
    for position in positions:
        dim = model.graph.input[0].type.tensor_type.shape.dim[position]
        dim.Clear()
        dim.dim_param = f"d{position}"
    del model.graph.value_info[:]
    return model


class TestOnnx:
    @pytest.mark.parametrize("positions", [(), (0,), (2, 3), (0, 2, 3)])
    def test_dynamic_shapes_are_fixed_by_the_spec(self, positions, tmp_path):
        source = saved(dynamic(small_detector(), *positions), tmp_path)
        size = {"height": 32, "width": 32}
        graph, metadata, _ = export(source, tmp_path / "w", format="onnx", input_size=size)
        dims = graph.graph.input[0].type.tensor_type.shape.dim
        assert [d.dim_value for d in dims] == [1, 3, 32, 32]
        assert (metadata.output_name, metadata.class_count) == ("output", 3)

    def test_graph_computes_what_it_computed(self, tmp_path):
        model = small_detector()
        graph, _, _ = export(saved(model, tmp_path), tmp_path / "w", format="onnx")
        images = probe((1, 3, 32, 32), Preprocess())
        before, after = (run_onnx(m, images)["output"] for m in (model, graph))
        np.testing.assert_allclose(after, before, atol=1e-5, rtol=1e-5)
        assert {n.name for n in graph.graph.node} <= {n.name for n in model.graph.node}

    def test_old_operator_sets_are_raised(self, tmp_path):
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

    def test_end_to_end_output_needs_its_classes(self, tmp_path):
        source = saved(small_detector(end_to_end=True), tmp_path)
        params = {"format": "onnx", "decoder": "EndToEnd"}
        assert "set spec.model.classes" in message(source, tmp_path / "1", **params)
        _, metadata, _ = export(source, tmp_path / "2", **params, classes=("a", "b", "c"))
        assert (metadata.decoder, metadata.class_count) == ("EndToEnd", 3)

    def test_class_names_come_from_the_exporters_metadata(self, tmp_path):
        model = small_detector()
        model.metadata_props.add(key="names", value="{0: 'cat', 1: 'dog', 2: 'owl'}")
        _, metadata, _ = export(saved(model, tmp_path), tmp_path / "w", format="onnx")
        assert metadata.classes == ("cat", "dog", "owl")

    def test_quantized_graphs_keep_their_pairs(self, tmp_path):
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
    def test_a_spec_that_disagrees_is_refused(self, change, params, words, tmp_path):
        source = saved(change(small_detector()), tmp_path)
        said = message(source, tmp_path / "w", format="onnx", **params)
        assert all(word in said for word in words), said

    def test_an_end_to_end_graph_is_not_taken_for_yolo(self, tmp_path):
        said = message(
            saved(small_detector(end_to_end=True), tmp_path), tmp_path / "w", format="onnx"
        )
        assert "spec.model.decoder: EndToEnd" in said

    def test_unknown_operators_are_named_with_their_nodes(self, tmp_path):
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
    def test_an_input_that_is_no_image_is_refused(self, change, words, tmp_path):
        model = small_detector()
        change(model.graph.input[0])
        said = message(saved(model, tmp_path), tmp_path / "w", format="onnx")
        assert all(word in said for word in words), said

    def test_two_inputs_are_refused_by_name(self, tmp_path):
        model = small_detector()
        extra = helper.make_tensor_value_info("sizes", TensorProto.FLOAT, [1, 2])
        model.graph.input.append(extra)
        said = message(saved(model, tmp_path), tmp_path / "w", format="onnx")
        assert "2 inputs (images, sizes)" in said

    @pytest.mark.parametrize(("part", "word"), [(0.0, "is empty"), (0.5, "truncated")])
    def test_broken_files_are_refused(self, part, word, tmp_path):
        source = saved(small_detector(), tmp_path)
        data = source.read_bytes()
        source.write_bytes(data[: int(len(data) * part)])
        said = message(source, tmp_path / "w", format="onnx")
        assert word in said
        assert "spec.model.uri" in said

    def test_weights_in_a_second_file_are_refused(self, tmp_path):
        onnx.save(
            small_detector(), tmp_path / "given.onnx", save_as_external_data=True, size_threshold=16
        )
        said = message(tmp_path / "given.onnx", tmp_path / "w", format="onnx")
        assert "second file" in said


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ultralytics", None)
    (tmp_path / "yolo11n.pt").write_bytes(b"PK")
    said = message(tmp_path / "yolo11n.pt", tmp_path / "w", format="ultralytics")
    assert "mixedprecision-operator[runner,ultralytics]" in said
