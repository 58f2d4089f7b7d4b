"""Train the demo's detector and write its weights as a plain state dict.

``python examples/demo/train.py --out examples/demo/detector.pt`` is how the committed weights were
made: it draws the training images, keeps them in the device's memory and trains. With three such
runs on one H100 it took 300 s. The order of sums on a GPU is not fixed, so another run gives other
weights of the same quality.
"""

import argparse
import math
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from detector import CLASSES, STRIDES, Detector, build
from loss import Targets, detection_loss
from make_data import QUALITY
from scenes import Floats, Image, Material, draw, load_material
from torch import Tensor, nn

Example = tuple[Image, Floats, npt.NDArray[np.int64]]
"""An input image (SIZE, SIZE, 3) BGR, boxes (n, 4) in its pixels, class indices (n,)."""
SIZE: Final = 256
"""Side of the input in pixels."""
PADDING: Final = 114
MOST_OBJECTS: Final = 8
"""In one image: scenes.draw places no more."""
AVERAGE: Final = 0.9998
"""Decay of the weights' moving average, once warm."""
WARMUP: Final = 1000
"""Steps in which the learning rate rises from zero."""


@dataclass(frozen=True)
class TrainingSet:
    """Letterboxed images and their objects, all on the training device."""

    images: Tensor
    """(n, 3, SIZE, SIZE) uint8 RGB."""
    boxes: Tensor
    """(n, MOST_OBJECTS, 4) left, top, right, bottom in pixels."""
    labels: Tensor
    """(n, MOST_OBJECTS) int64; -1 where padded."""


def main() -> None:
    """Draw, train, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=0.004, help="highest learning rate")
    parser.add_argument("--decay", type=float, default=0.02, help="weight decay")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(arguments.seed)
    torch.backends.cudnn.benchmark = True

    started = time.perf_counter()
    data = draw_training_set(arguments.images, device)
    print(f"drew {arguments.images} images in {time.perf_counter() - started:.0f} s", flush=True)
    model = build()
    if not isinstance(model, Detector):
        raise TypeError("detector.build() must return a Detector")
    set_priors(model)
    model = model.to(device).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, arguments.rate, arguments.decay)
    average = train(model, optimizer, data, epochs=arguments.epochs, batch=arguments.batch)
    state = {k: v.cpu().contiguous() for k, v in average.state_dict().items()}
    torch.save(state, arguments.out)
    print(f"wrote {arguments.out} after {time.perf_counter() - started:.0f} s", flush=True)


def draw_training_set(count: int, device: torch.device) -> TrainingSet:
    """Draw ``count`` images on all cores and move them to the device."""
    with ProcessPoolExecutor() as pool:
        return collect(pool.map(example, range(count), chunksize=64), count, device)


def collect(examples: Iterable[Example], count: int, device: torch.device) -> TrainingSet:
    """Put what ``example`` gives into tensors on the device."""
    images = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)
    boxes = np.zeros((count, MOST_OBJECTS, 4), dtype=np.float32)
    labels = np.full((count, MOST_OBJECTS), -1, dtype=np.int64)
    for i, (image, found, names) in enumerate(examples):
        images[i], boxes[i, : len(found)], labels[i, : len(names)] = image, found, names
    rgb = torch.from_numpy(images).to(device).flip(3).permute(0, 3, 1, 2)
    return TrainingSet(rgb, torch.from_numpy(boxes).to(device), torch.from_numpy(labels).to(device))


@cache
def _material() -> Material:
    cv2.setNumThreads(1)
    return load_material("train")


def example(index: int) -> Example:
    """Draw one image as a job will see it: through JPEG and letterbox; boxes in input pixels."""
    scene = draw(_material(), "train", index)
    _, jpeg = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"training image {index} did not survive JPEG")
    height, width = image.shape[:2]
    scale = min(SIZE / height, SIZE / width)
    rows, columns = round(height * scale), round(width * scale)
    top, left = (SIZE - rows) // 2, (SIZE - columns) // 2
    boxed = np.full((SIZE, SIZE, 3), PADDING, dtype=np.uint8)
    boxed[top : top + rows, left : left + columns] = cv2.resize(image, (columns, rows))
    offset = np.array([left, top, left, top], dtype=np.float32)
    return boxed, scene.boxes * np.float32(scale) + offset, scene.labels


def set_priors(model: Detector) -> None:
    """Start from the belief that objects are rare, so that early steps do not blow up."""
    for boxes, classes, stride in zip(model.head.boxes, model.head.classes, STRIDES, strict=True):
        for branch, value in (
            (boxes, 1.0),
            (classes, math.log(5 / CLASSES / (SIZE / stride) ** 2)),
        ):
            last = list(branch.modules())[-1]
            if isinstance(last, nn.Conv2d) and last.bias is not None:
                nn.init.constant_(last.bias, value)


def make_optimizer(model: nn.Module, rate: float, decay: float) -> torch.optim.Optimizer:
    """Decay convolution weights only, never BatchNorm's or a bias."""
    kernels = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.999))


def train(
    model: Detector,
    optimizer: torch.optim.Optimizer,
    data: TrainingSet,
    *,
    epochs: int,
    batch: int,
) -> nn.Module:
    """Train and return the moving average of the weights, in eval mode."""
    device = data.images.device
    average = deepcopy(model).eval().requires_grad_(requires_grad=False)
    kept, live = _floats(average), _floats(model)
    per_epoch = len(data.images) // batch
    steps = epochs * per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, min(WARMUP, steps // 10), steps)
    )
    model.train()
    for epoch in range(epochs):
        started = time.perf_counter()
        order = torch.randperm(len(data.images), device=device)
        total = torch.zeros((), device=device)
        for i in range(per_epoch):
            picked = order[i * batch : (i + 1) * batch]
            images = augment(data.images[picked])
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                maps = model(images)
            labels = data.labels[picked]
            targets = Targets(data.boxes[picked], labels.clamp(min=0), labels >= 0)
            loss = detection_loss([m.float() for m in maps], targets)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            done = epoch * per_epoch + i + 1
            momentum = AVERAGE * (1 - math.exp(-done / 2000))
            torch._foreach_lerp_(kept, live, 1 - momentum)
            total += loss.detach()
        speed = per_epoch * batch / (time.perf_counter() - started)
        mean = float(total) / per_epoch
        print(f"epoch {epoch + 1}/{epochs}: loss {mean:.4f}, {speed:.0f} images/s", flush=True)
    return average


def _floats(model: nn.Module) -> list[Tensor]:
    return [t.detach() for t in model.state_dict().values() if t.is_floating_point()]


def _rate(step: int, warmup: int, steps: int) -> float:
    """Return the factor on the learning rate: a linear rise, then half a cosine down to 1 %."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2


def augment(images: Tensor) -> Tensor:
    """Vary light and colour: (b, 3, H, W) uint8 to float in 0..1, channels last."""
    count, device = len(images), images.device
    gain = torch.empty(count, 3, 1, 1, device=device).uniform_(0.85, 1.15)
    shift = torch.empty(count, 1, 1, 1, device=device).uniform_(-0.06, 0.06)
    order = torch.rand(count, 3, device=device).argsort(dim=1)
    order = torch.where(
        torch.rand(count, 1, device=device) < 0.5, order, torch.arange(3, device=device)
    )
    mixed = images.gather(1, order[:, :, None, None].expand_as(images)).float() / 255
    varied = (mixed * gain + shift).clamp(0, 1)
    return varied.contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
