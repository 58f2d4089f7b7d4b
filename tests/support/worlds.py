"""Engines and metadata that several tests of backends and steps need."""

from pathlib import Path

import onnx
from small_detector import CLASSES, SIZE

from mpj_runner.backends import backend, hardware
from mpj_runner.contract.model import InputSize, ModelMetadata, Preprocess
from mpj_runner.contract.steps import BackendName, BuildParams, Precision
from mpj_runner.graph.legalize import legalize


def metadata(batch: int = 1) -> ModelMetadata:
    """Return what fits ``small_detector``."""
    return ModelMetadata(
        input_name="images",
        output_name="output",
        batch_size=batch,
        input_size=InputSize(height=SIZE, width=SIZE),
        class_count=CLASSES,
        preprocess=Preprocess(),
        decoder="YOLO",
        opset=19,
        source_format="onnx",
    )


def built(model: onnx.ModelProto, name: BackendName, folder: Path, precision: Precision = "fp32"):
    """Legalise and build as the build step does; return the engine's folder and its layers."""
    folder.mkdir(parents=True)
    legal, _ = legalize(model, name, products=hardware.int8_products())
    onnx.save(legal, folder / "legal.onnx")
    (folder / "engine").mkdir()
    params = BuildParams(backend=name, precision=precision, threads=1)
    layers = backend(name).build(folder / "legal.onnx", params, folder / "engine")
    return folder / "engine", layers
