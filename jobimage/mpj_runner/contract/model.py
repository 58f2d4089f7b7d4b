"""What is known of a model and of its data: shared by the resource and by the steps."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mpj_runner.contract.base import DecimalString, ShortText, Value

ModelFormat = Literal["ultralytics", "torch", "onnx"]
Decoder = Literal["YOLO", "EndToEnd"]
DataFormat = Literal["COCO", "YOLO"]
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Classes = Annotated[tuple[ClassName, ...], Field(min_length=1, max_length=4096)]
Triple = Annotated[tuple[DecimalString, ...], Field(min_length=3, max_length=3)]


class InputSize(Value):
    """The size in pixels that the model is exported for."""

    height: Annotated[int, Field(ge=32, le=4096, multiple_of=32)] = 640
    """Rows of the input; a multiple of 32."""
    width: Annotated[int, Field(ge=32, le=4096, multiple_of=32)] = 640
    """Columns of the input; a multiple of 32."""


class Preprocess(Value):
    """How an image becomes the model's input: (pixels * scale - mean) / std, in colorOrder."""

    color_order: Literal["RGB", "BGR"] = "RGB"
    """The order of the three channels that the model was trained with."""
    scale: DecimalString = 0.00392156862745098
    """Factor for pixels 0..255; the default is 1/255."""
    mean: Triple = (0.0, 0.0, 0.0)
    """Subtracted from each channel after scaling."""
    std: Triple = (1.0, 1.0, 1.0)
    """Divides each channel after the mean is subtracted."""
    resize: Literal["Letterbox", "Stretch"] = "Letterbox"
    """Letterbox keeps the aspect ratio and pads; Stretch does not."""
    pad_value: Annotated[int, Field(ge=0, le=255)] = 114
    """Pixel value of the letterbox's border."""


class ModelMetadata(Value):
    """What every later step must know of the exported model; travels beside the ONNX file."""

    input_name: ShortText
    """The one input: (batch, 3, height, width), float32."""
    output_name: ShortText
    """The one output, float32. YOLO: (batch, 4 + classes, anchors), boxes as centre x, y, width,
    height in input pixels, class scores in 0..1. EndToEnd: (batch, n, 6), rows of x1, y1, x2, y2,
    score, class index."""
    batch_size: Annotated[int, Field(ge=1, le=1024)]
    """The static batch of the exported graph."""
    input_size: InputSize
    classes: Classes | None = None
    """Names by class index; None when neither the model nor the spec names them: the validation
    snapshot then takes them from the annotations."""
    class_count: Annotated[int, Field(ge=1, le=4096)]
    preprocess: Preprocess
    decoder: Decoder
    opset: Annotated[int, Field(ge=13, le=30)]
    source_format: ModelFormat
