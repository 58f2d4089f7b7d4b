"""Build an engine of a graph."""

import json
from collections.abc import Mapping
from pathlib import Path

import onnx

from mpj_runner.backends import backend, cuda
from mpj_runner.backends.hardware import int8_products
from mpj_runner.backends.info import size_of
from mpj_runner.backends.layers import count
from mpj_runner.contract.files import EngineLayers
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import BuildOutcome, BuildParams
from mpj_runner.graph.legalize import legalize


def run(params: BuildParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Legalise the graph for the backend and build from exactly that file; see ``BuildParams``.

    Raises:
        UserError: the backend cannot take the graph, or is absent here.
    """
    builder = backend(params.backend)
    legal, notes = legalize(
        onnx.load(inputs["model"]),
        params.backend,
        products=int8_products(),
        cuda=cuda.device_count() > 0,
    )
    graph, engine, report = work / "model.onnx", work / "engine", work / "layers.json"
    onnx.save(legal, graph)
    engine.mkdir()
    built = builder.build(graph, params, engine)
    layers = EngineLayers(layers=built.layers, notes=(*notes, *built.notes))
    report.write_text(json.dumps(layers.to_json(numbers=True)), encoding="utf-8")
    return StepResult(
        {"onnx": graph, "engine": engine, "layers": report},
        BuildOutcome(size_bytes=size_of(engine), layers=count(layers)),
    )
