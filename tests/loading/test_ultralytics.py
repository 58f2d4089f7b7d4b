"""Ultralytics checkpoints, against Ultralytics' own forward."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.contract.steps import ExportParams
from mpj_runner.loading.outputs import disagreement
from mpj_runner.loading.runtime import run_onnx
from mpj_runner.steps.export import run

pytestmark = pytest.mark.ultralytics
pytest.importorskip("ultralytics", reason="needs the extra ultralytics")

SIZE = {"height": 128, "width": 160}


def checkpoint(folder: Path, config: str, task: str = "detect") -> tuple[Path, torch.nn.Module]:
    """Write a checkpoint as training does, in half precision, with seeded random weights."""
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel(f"{config}.yaml", verbose=False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.7, 1.3)
    model.names = {i: f"thing {i}" for i in range(80)}
    model.task = task
    path = folder / f"{config}.pt"
    torch.save({"model": None, "ema": model.half(), "train_args": {"imgsz": 320}}, path)
    return path, model.float().eval()


def exported(source: Path, work: Path, **params) -> tuple[onnx.ModelProto, ModelMetadata]:
    work.mkdir()
    result = run(ExportParams(format="ultralytics", **params), {"model": source}, work)
    metadata = ModelMetadata.model_validate_json(result.files["metadata"].read_bytes())
    return onnx.load(result.files["model"]), metadata


@pytest.mark.parametrize(
    ("config", "decoder"), [("yolo11n", "YOLO"), ("yolov8n", "YOLO"), ("yolo26n", "EndToEnd")]
)
def test_graph_computes_what_ultralytics_computes(config, decoder, tmp_path):
    source, model = checkpoint(tmp_path, config)
    graph, metadata = exported(source, tmp_path / "w", input_size=SIZE)
    images = np.random.default_rng(5).random((1, 3, 128, 160), dtype=np.float32)
    if decoder == "EndToEnd":
        model.model[-1].end2end = True
    with torch.no_grad():
        expected = model(torch.from_numpy(images))[0].numpy()
    y = run_onnx(graph, images)[metadata.output_name]
    assert disagreement(expected, y, decoder) is None
    assert (metadata.decoder, metadata.class_count) == (decoder, 80)
    assert metadata.classes == tuple(f"thing {i}" for i in range(80))


def test_only_the_deployed_head_is_exported_under_ultralytics_names(tmp_path):
    graph, _ = exported(checkpoint(tmp_path, "yolo26n")[0], tmp_path / "w", input_size=SIZE)
    names = [node.name for node in graph.graph.node]
    head = [name for name in names if name.startswith("/model.23/") and name.endswith("/Conv")]
    assert names[0] == "/model.0/conv/Conv"
    assert head
    assert all("one2one" in name for name in head)


def test_bytes_repeat_and_the_trained_size_is_the_default(tmp_path):
    source, _ = checkpoint(tmp_path, "yolo11n")
    first, metadata = exported(source, tmp_path / "a")
    second, _ = exported(source, tmp_path / "b")
    assert first.SerializeToString() == second.SerializeToString()
    assert (metadata.input_size.height, metadata.input_size.width) == (320, 320)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("cut", "truncated or no PyTorch file", id="cut in half"),
        pytest.param("state", "no Ultralytics checkpoint .*format: torch", id="a state dict"),
        pytest.param("task", "task 'segment'; only detection", id="another task"),
        pytest.param("decoder", "decoder is EndToEnd, but", id="a decoder that it lacks"),
    ],
)
def test_other_files_are_refused(content, words, tmp_path):
    source, _ = checkpoint(tmp_path, "yolov8n", "segment" if content == "task" else "detect")
    if content == "cut":
        source.write_bytes(source.read_bytes()[:9000])
    elif content == "state":
        torch.save({"a": torch.zeros(2)}, source)
    decoder = "EndToEnd" if content == "decoder" else "YOLO"
    with pytest.raises(UserError, match=words):
        exported(source, tmp_path / "w", input_size=SIZE, decoder=decoder)
