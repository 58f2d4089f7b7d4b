"""The calibrate step on image files."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from small_detector import SIZE, small_detector

from mpj_runner.calibration.statistics import Statistics
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import InputSize, ModelMetadata, Preprocess
from mpj_runner.contract.steps import CalibrateOutcome, CalibrateParams
from mpj_runner.steps.calibrate import run


def world(folder: Path, images: int, batch: int = 1) -> dict[str, Path]:
    """A model, its metadata and a folder of seeded images, one of them not square."""
    rng = np.random.default_rng(3)
    (folder / "images").mkdir()
    for i in range(images):
        pixels = rng.integers(0, 256, (SIZE, SIZE - 8 * (i == 0), 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"images/{i:03}.png"), pixels)
    onnx.save(small_detector(batch=batch), folder / "model.onnx")
    metadata = ModelMetadata(
        input_name="images",
        output_name="output",
        batch_size=batch,
        input_size=InputSize(height=SIZE, width=SIZE),
        class_count=3,
        preprocess=Preprocess(),
        decoder="YOLO",
        opset=19,
        source_format="onnx",
    )
    (folder / "metadata.json").write_text(metadata.model_dump_json())
    return {
        "model": folder / "model.onnx",
        "metadata": folder / "metadata.json",
        "images": folder / "images",
    }


def calibrated(folder: Path, images: int = 3, batch: int = 1, **params) -> Statistics:
    work = folder / "work"
    work.mkdir()
    result = run(CalibrateParams(**params), world(folder, images, batch), work)
    statistics = Statistics.load(result.files["statistics"])
    assert result.outcome == CalibrateOutcome(images=images, tensors=len(statistics.tensors))
    return statistics


@pytest.mark.parametrize("batch", [1, 2])
def test_every_image_runs_once(batch, tmp_path):
    statistics = calibrated(tmp_path, images=3, batch=batch)
    assert statistics.images == 3
    assert statistics.histograms["images"].sum() == 3 * 3 * SIZE * SIZE


def test_pixels_are_scaled_as_the_metadata_says(tmp_path):
    statistics = calibrated(tmp_path)
    assert statistics.high["images"].max() == 1
    assert statistics.low["images"].min() == 0


def test_per_node_gives_the_same_file(tmp_path):
    files = []
    for per_node in (False, True):
        folder = tmp_path / str(per_node)
        folder.mkdir()
        calibrated(folder, calibrate_per_node=per_node)
        files.append((folder / "work/statistics.npz").read_bytes())
    assert files[0] == files[1]


def test_an_empty_folder_is_the_users_to_mend(tmp_path):
    with pytest.raises(UserError, match=r"spec\.calibration\.uri"):
        calibrated(tmp_path, images=0)


def test_a_broken_image_is_named(tmp_path):
    inputs = world(tmp_path, 2)
    path = inputs["images"] / "001.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"001\.png"):
        run(CalibrateParams(), inputs, tmp_path)
