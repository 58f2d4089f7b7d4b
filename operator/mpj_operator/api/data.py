"""The images to calibrate with, and the labelled images to judge by."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mpj_operator.api.source import Source
from mpj_runner.contract.base import Between, Count, DecimalString
from mpj_runner.contract.model import DataFormat

Part = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class DataSource(Source):
    """A data set: a folder, or a tar or zip file of one."""

    format: DataFormat
    """COCO: images and an annotation file. YOLO: images/ and labels/, or a data.yaml."""
    split: Part | None = None
    """Which part: a key of data.yaml, or a folder's name; default: train to calibrate, val to
    validate, where the data set has parts."""
    annotations: Part | None = None
    """COCO only: the annotation file, inside the data set."""


class Calibration(DataSource):
    """Images that activation ranges and sensitivities are measured on; labels are not needed."""

    max_images: Annotated[int, Field(ge=1, le=100_000)] = 512
    """How many images at most; picked by seed."""
    seed: Count = 0
    """Decides which images are picked."""


class Validation(DataSource):
    """Labelled images that every engine is judged by, and how detections are counted."""

    max_images: Annotated[int, Field(ge=1, le=1_000_000)] = 5000
    """How many images at most."""
    score_threshold: Annotated[DecimalString, Between(0, 1)] = 0.001
    """Detections with a lower score are dropped."""
    iou_threshold: Annotated[DecimalString, Between(0, 1)] = 0.7
    """NMS drops a box that overlaps a better one of its class by more than this."""
    max_detections: Annotated[int, Field(ge=1, le=10_000)] = 300
    """Detections kept for an image."""
    category_mapping: Literal["Name", "ID", "Order"] = "Name"
    """How annotation categories become class indices: by name, by id, or by their order."""
    on_corrupt_image: Literal["Fail", "Skip"] = "Fail"
    """What an unreadable image does: fail the job and be named, or be left out and counted."""
