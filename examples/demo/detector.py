"""A small one-stage detector in plain PyTorch: the model of the demo job.

It is built as today's YOLO-style detectors are: convolution, BatchNorm and SiLU in one block;
stages that split their channels, run residual bottlenecks on one half and concatenate every
intermediate; pooled context at the deepest level; a top-down and bottom-up neck; a decoupled head
on strides 8, 16 and 32 that predicts each side of a box as a distribution over distances.

The demo job names ``detector:build`` as its factory and loads ``detector.pt`` into what it returns.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

CLASSES: Final = 10
STRIDES: Final = (8, 16, 32)
BINS: Final = 16
"""Bins of a side's distribution: distances of 0 to 15 cells."""
WIDTHS: Final = (32, 64, 64, 96, 160)
"""Channels at strides 2, 4, 8, 16 and 32."""


def build() -> nn.Module:
    """Return the detector with fresh weights: the factory that a job's spec names."""
    return Detector()


class ConvBlock(nn.Sequential):
    """Run a convolution, BatchNorm and SiLU: (B, inputs, H, W) to (B, outputs, H/s, W/s)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU()


class Bottleneck(nn.Module):
    """Add two 3x3 convolutions' output to the input, through half the channels."""

    def __init__(self, channels: int, *, residual: bool = True) -> None:
        super().__init__()
        self.reduce = ConvBlock(channels, channels // 2, 3)
        self.expand = ConvBlock(channels // 2, channels, 3)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y: Tensor = self.expand(self.reduce(x))
        return x + y if self.residual else y


class SplitStage(nn.Module):
    """Split the channels, transform one half step by step, and fuse all that arose on the way."""

    def __init__(
        self, inputs: int, outputs: int, *, repeats: int = 1, residual: bool = True
    ) -> None:
        super().__init__()
        self.hidden = hidden = outputs // 2
        self.split = ConvBlock(inputs, 2 * hidden)
        self.steps = nn.ModuleList(Bottleneck(hidden, residual=residual) for _ in range(repeats))
        self.fuse = ConvBlock((2 + repeats) * hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        parts = list(torch.split(self.split(x), self.hidden, dim=1))
        for step in self.steps:
            parts.append(step(parts[-1]))
        fused: Tensor = self.fuse(torch.cat(parts, dim=1))
        return fused


class PooledContext(nn.Module):
    """Concatenate three chained 5x5 maxima (SPPF): windows of 5, 9 and 13 cells."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvBlock(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.fuse = ConvBlock(4 * (channels // 2), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        parts = [self.reduce(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        fused: Tensor = self.fuse(torch.cat(parts, dim=1))
        return fused


class Backbone(nn.Module):
    """Turn an image into features at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        w2, w4, w8, w16, w32 = WIDTHS
        self.stem = nn.Sequential(
            ConvBlock(3, w2, 3, 2), ConvBlock(w2, w4, 3, 2), SplitStage(w4, w4)
        )
        self.stage8 = nn.Sequential(ConvBlock(w4, w8, 3, 2), SplitStage(w8, w8, repeats=2))
        self.stage16 = nn.Sequential(ConvBlock(w8, w16, 3, 2), SplitStage(w16, w16, repeats=2))
        self.stage32 = nn.Sequential(
            ConvBlock(w16, w32, 3, 2), SplitStage(w32, w32), PooledContext(w32)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, 3, H, W) to features at strides 8, 16 and 32."""
        p8 = self.stage8(self.stem(x))
        p16 = self.stage16(p8)
        return p8, p16, self.stage32(p16)


class Neck(nn.Module):
    """Carry context down to fine levels and detail back up to coarse ones (a PAN)."""

    def __init__(self) -> None:
        super().__init__()
        _, _, w8, w16, w32 = WIDTHS
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.down16 = SplitStage(w32 + w16, w16, residual=False)
        self.down8 = SplitStage(w16 + w8, w8, residual=False)
        self.to16 = ConvBlock(w8, w8, 3, 2)
        self.up16 = SplitStage(w8 + w16, w16, residual=False)
        self.to32 = ConvBlock(w16, w16, 3, 2)
        self.up32 = SplitStage(w16 + w32, w32, residual=False)

    def forward(self, p8: Tensor, p16: Tensor, p32: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mix features of three strides; the shapes stay."""
        n16 = self.down16(torch.cat([self.up(p32), p16], dim=1))
        n8 = self.down8(torch.cat([self.up(n16), p8], dim=1))
        m16 = self.up16(torch.cat([self.to16(n8), n16], dim=1))
        m32 = self.up32(torch.cat([self.to32(m16), p32], dim=1))
        return n8, m16, m32


class Integral(nn.Module):
    """Turn distributions over distances into their expectation, by a fixed 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data = torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map logits (B, 4 * BINS, A) to distances (B, 4, A) in cells."""
        logits = x.view(x.shape[0], 4, BINS, -1).transpose(1, 2)
        distances: Tensor = self.conv(logits.softmax(dim=1))
        return distances.view(x.shape[0], 4, -1)


class Head(nn.Module):
    """Predict box sides and class scores in separate branches, one pair a stride."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        sides, scores = 48, 64
        self.boxes = nn.ModuleList(
            nn.Sequential(
                ConvBlock(width, sides, 3),
                ConvBlock(sides, sides, 3),
                nn.Conv2d(sides, 4 * BINS, 1),
            )
            for width in widths
        )
        self.classes = nn.ModuleList(
            nn.Sequential(
                ConvBlock(width, width, 3, groups=width),
                ConvBlock(width, scores),
                ConvBlock(scores, scores, 3, groups=scores),
                ConvBlock(scores, scores),
                nn.Conv2d(scores, CLASSES, 1),
            )
            for width in widths
        )
        self.integral = Integral()

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map features to raw maps (B, 4 * BINS + CLASSES, H/s, W/s), one a stride."""
        return [
            torch.cat([box(x), score(x)], dim=1)
            for box, score, x in zip(self.boxes, self.classes, features, strict=True)
        ]

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Map raw maps to (B, 4 + CLASSES, A): centre x, y, width, height in pixels, and scores."""
        centres, strides = anchor_points(maps)
        flat = torch.cat([m.flatten(2) for m in maps], dim=2)
        sides, scores = torch.split(flat, [4 * BINS, CLASSES], dim=1)
        near, far = torch.split(self.integral(sides), 2, dim=1)
        top_left, bottom_right = centres - near, centres + far
        boxes = torch.cat([(top_left + bottom_right) / 2, bottom_right - top_left], dim=1) * strides
        return torch.cat([boxes, scores.sigmoid()], dim=1)


class Detector(nn.Module):
    """Find handwritten digits in photographs; any input size that is a multiple of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.neck = Neck()
        self.head = Head(WIDTHS[2:])

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Detect.

        Args:
            x: (B, 3, H, W) RGB in 0..1.

        Returns:
            In eval mode (B, 4 + CLASSES, A) as ``Head.decode`` gives it, with A the cells of all
            strides, finest first, row by row; in training the raw maps of ``Head.forward``.
        """
        maps: list[Tensor] = self.head(self.neck(*self.backbone(x)))
        if self.training:
            return maps
        decoded: Tensor = self.head.decode(maps)
        return decoded


def anchor_points(maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the cells' centres (1, 2, A) in cells and their strides (1, 1, A) in pixels."""
    centres, strides = [], []
    for m, stride in zip(maps, STRIDES, strict=True):
        height, width = m.shape[-2:]
        rows = torch.arange(height, device=m.device, dtype=m.dtype) + 0.5
        columns = torch.arange(width, device=m.device, dtype=m.dtype) + 0.5
        grid = torch.meshgrid(rows, columns, indexing="ij")
        centres.append(torch.stack([grid[1].flatten(), grid[0].flatten()]))
        strides.append(torch.full_like(grid[0].flatten(), stride))
    return torch.cat(centres, dim=1)[None], torch.cat(strides)[None, None]
