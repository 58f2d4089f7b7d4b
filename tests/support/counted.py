"""A step that counts its runs, requests for it, and folders to run it in."""

from collections.abc import Mapping
from pathlib import Path

from mpj_runner.contract.messages import Input, Request
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import CalibrateOutcome, CalibrateParams
from mpj_runner.stores.file import FileStore


class Counted:
    """A step that copies its input and counts its runs; ``images`` becomes a folder."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: Exception | None = None

    def __call__(
        self, params: CalibrateParams, inputs: Mapping[str, Path], work: Path
    ) -> StepResult:
        self.runs += 1
        if self.error is not None:
            raise type(self.error)(*self.error.args)
        assert not list(work.iterdir())
        text = inputs["model"].read_text() if inputs["model"].is_file() else "folder"
        (work / "model").write_text(f"{text}!")
        (work / "images").mkdir()
        (work / "images" / "a.txt").write_text(text)
        files = {"model": work / "model", "images": work / "images"}
        return StepResult(files, CalibrateOutcome(images=1, tensors=2))


def request(store: FileStore, name: str = "calibrate", **fields: object) -> Request:
    """Return a request for the step; fields replace members."""
    return Request.model_validate(
        {
            "step": "calibrate",
            "name": name,
            "params": {},
            "store": store.root.as_uri(),
            **fields,
        }
    )


def from_source(source: Path) -> dict[str, Input]:
    """Return the step's inputs, taken from where a user keeps them."""
    return {"model": Input(source=source.as_uri(), field="spec.model.uri")}


def pod(tmp_path: Path, name: str) -> Path:
    """Return the folder that a pod's containers share."""
    path = tmp_path / name
    path.mkdir(exist_ok=True)
    return path
