"""The demo's model: shapes, decoding, and weights that find digits."""

import json

import cv2
import numpy as np
import pytest
import torch
from torch.nn.utils import fuse_conv_bn_eval


@pytest.mark.parametrize(("height", "width"), [(192, 192), (32, 32), (96, 160)])
def test_decodes_every_cell_of_three_strides(height, width):
    import detector

    model = detector.build().eval()
    with torch.no_grad():
        out = model(torch.rand(2, 3, height, width))
    cells = sum((height // s) * (width // s) for s in detector.STRIDES)
    assert out.shape == (2, 4 + detector.CLASSES, cells)
    assert (out[:, 2:4] > 0).all()
    assert ((out[:, 4:] >= 0) & (out[:, 4:] <= 1)).all()


def test_returns_raw_maps_in_training():
    import detector

    maps = detector.build().train()(torch.rand(2, 3, 64, 96))
    channels = 4 * detector.BINS + detector.CLASSES
    assert [tuple(m.shape) for m in maps] == [
        (2, channels, 8, 12),
        (2, channels, 4, 6),
        (2, channels, 2, 3),
    ]


def test_decodes_known_distances_to_pixels():
    """Left 1, top 2, right 3 and bottom 4 cells around the cell of row 1, column 2, stride 8."""
    import detector

    model = detector.build()
    maps = [torch.zeros(1, 4 * detector.BINS + detector.CLASSES, 4 // k, 4 // k) for k in (1, 2, 4)]
    for side, distance in enumerate((1, 2, 3, 4)):
        maps[0][0, side * detector.BINS + distance, 1, 2] = 100.0
    maps[0][0, 4 * detector.BINS + 7, 1, 2] = 3.0
    out = model.head.decode(maps)[0, :, 1 * 4 + 2]
    left, top, right, bottom = (2.5 - 1) * 8, (1.5 - 2) * 8, (2.5 + 3) * 8, (1.5 + 4) * 8
    expected = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    assert out[:4].tolist() == pytest.approx(expected, abs=1e-4)
    assert out[4 + 7].item() == pytest.approx(1 / (1 + np.exp(-3.0)), abs=1e-6)


@pytest.fixture
def trained(demo):
    import detector

    model = detector.build()
    model.load_state_dict(torch.load(demo / "detector.pt", weights_only=True))
    return model.eval()


def test_weights_are_small_and_of_one_kind(demo):
    state = torch.load(demo / "detector.pt", weights_only=True)
    assert (demo / "detector.pt").stat().st_size <= 6_000_000
    assert all(v.isfinite().all() for v in state.values())
    kinds = {v.dtype for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert kinds == {torch.float32}


def test_batch_norm_folds_into_every_convolution_block(trained):
    import detector

    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        expected = trained(image)
        for block in trained.modules():
            if isinstance(block, detector.ConvBlock):
                block.conv = fuse_conv_bn_eval(block.conv, block.bn)
                block.bn = torch.nn.Identity()
        torch.testing.assert_close(trained(image), expected, atol=2e-3, rtol=1e-3)


def test_weights_find_digits_that_training_never_saw(trained, demo):
    """Half of all digits, however small or faint, are found with the right name."""
    coco = json.loads((demo / "data/annotations/instances_validation.json").read_text())
    found = wanted = 0
    for entry in coco["images"][:40]:
        image = cv2.imread(str(demo / "data/validation" / entry["file_name"]))[..., ::-1]
        rows, columns = (-side % 32 for side in image.shape[:2])
        image = np.pad(image, ((0, rows), (0, columns), (0, 0)), constant_values=114)
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None] / 255
        with torch.no_grad():
            out = trained(pixels)[0].T.numpy()
        confident = out[out[:, 4:].max(axis=1) > 0.25]
        names = confident[:, 4:].argmax(axis=1)
        for truth in (a for a in coco["annotations"] if a["image_id"] == entry["id"]):
            wanted += 1
            same = confident[names == truth["category_id"] - 1]
            found += bool(len(same)) and max(_iou(box, truth["bbox"]) for box in same[:, :4]) > 0.5
    assert found / wanted > 0.5


def _iou(xywh, bbox):
    """Compare a box given by its centre with one given by its corner."""
    x, y, w, h = xywh
    left, top, width, height = bbox
    across = max(0.0, min(x + w / 2, left + width) - max(x - w / 2, left))
    down = max(0.0, min(y + h / 2, top + height) - max(y - h / 2, top))
    return across * down / (w * h + width * height - across * down)
