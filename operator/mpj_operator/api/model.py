"""The model that is to be made faster."""

from typing import Annotated

from pydantic import StringConstraints

from mpj_operator.api.rules import Rule, when
from mpj_operator.api.source import Source
from mpj_runner.contract.model import Classes, Decoder, InputSize, ModelFormat, Preprocess

Factory = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$",
        max_length=256,
    ),
]
_BY_SUFFIX: dict[str, ModelFormat] = {".pt": "ultralytics", ".pth": "torch", ".onnx": "onnx"}


def _by_suffix(uri: str) -> ModelFormat | None:
    return next((f for suffix, f in _BY_SUFFIX.items() if uri.endswith(suffix)), None)


class ModelSource(Source):
    """A YOLO-style detector: a checkpoint, a state dict with its factory, or an ONNX file."""

    format: ModelFormat | None = None
    """What the file is; default: onnx for .onnx, torch when a factory is given, else ultralytics
    for .pt."""
    factory: Factory | None = None
    """Only for torch: module:function that builds the nn.Module whose state dict the file is."""
    input_size: InputSize = InputSize()
    """The size that the engine is built for."""
    classes: Classes | None = None
    """Class names by index; default: from the checkpoint, else from the annotations."""
    preprocess: Preprocess = Preprocess()
    """How an image becomes the model's input."""
    decoder: Decoder = "YOLO"
    """The model's output. YOLO: (batch, 4 + classes, anchors), needs NMS. EndToEnd: (batch, n, 6)
    rows of x1, y1, x2, y2, score, class."""

    rules = (
        Rule(
            message="is required for torch models: module:function that builds the nn.Module",
            field="factory",
            cel="has(self.factory) || !(has(self.format) ? self.format == 'torch' "
            ": self.uri.endsWith('.pth'))",
            broken=lambda m: when(
                m.factory is None and (m.format or _by_suffix(m.uri)) == "torch", "factory"
            ),
        ),
        Rule(
            message="is for torch models only: remove it, or set format to torch",
            field="factory",
            cel="!has(self.factory) || (has(self.format) ? self.format == 'torch' "
            ": !self.uri.endsWith('.onnx'))",
            broken=lambda m: when(
                m.factory is not None
                and (m.format != "torch" if m.format else _by_suffix(m.uri) == "onnx"),
                "factory",
            ),
        ),
        Rule(
            message="must be ultralytics, torch or onnx: the uri ends in none of .pt, .pth, .onnx",
            field="format",
            cel="has(self.format) || has(self.factory) || self.uri.endsWith('.pt') "
            "|| self.uri.endsWith('.pth') || self.uri.endsWith('.onnx')",
            broken=lambda m: when(
                m.format is None and m.factory is None and _by_suffix(m.uri) is None, "format"
            ),
        ),
    )

    @property
    def resolved_format(self) -> ModelFormat:
        """Return the format that is given or follows from the factory and the suffix."""
        by_suffix = _by_suffix(self.uri) or "onnx"  # the rules refuse a suffix that says nothing
        return self.format or ("torch" if self.factory else by_suffix)
