"""The export step in a fresh folder: what it makes, or the words it ends with."""

from pathlib import Path

import onnx
import pytest

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.contract.steps import ExportParams
from mpj_runner.steps.export import run

SIZE = {"height": 64, "width": 96}


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
