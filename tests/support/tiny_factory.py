"""A detector of a few kilobytes as a user would write it: source of a factory, and its weights."""

from pathlib import Path

import torch

SOURCE = '''
"""A detector of three convolutions, at stride 8."""
import torch
from torch import nn

CLASSES = 3

class Block(nn.Sequential):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.SiLU(inplace=True)

class Tiny(nn.Module):
    def __init__(self, channels=8):
        super().__init__()
        self.model = nn.Sequential(Block(3, channels, 2), Block(channels, channels, 2))
        self.up = nn.ConvTranspose2d(channels, channels, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Conv2d(channels, 4 + CLASSES, 4, 4)

    def raw(self, x):
        return self.head(self.norm(self.up(self.model(x)))).flatten(2)

    def forward(self, x):
        boxes, scores = self.raw(x).split([4, CLASSES], dim=1)
        return torch.cat([boxes.sigmoid() * x.shape[-1], scores.sigmoid()], dim=1)

class Tupled(Tiny):
    def forward(self, x):
        return super().forward(x), [self.raw(x)]

class Transposed(Tiny):
    def forward(self, x):
        return super().forward(x).transpose(1, 2)

class Depends(Tiny):
    def forward(self, x):
        y = super().forward(x)
        return y * 2 if not torch.jit.is_tracing() else y

class Bad(Tiny):
    def forward(self, x):
        return {"boxes": super().forward(x)}

class Unexportable(Tiny):
    def forward(self, x):
        y = super().forward(x)
        return y + torch.linalg.matrix_rank(y)[:, None, None]

def build(): return Tiny()
def wide(): return Tiny(16)
def tupled(): return Tupled()
def transposed(): return Transposed()
def depends(): return Depends()
def bad(): return Bad()
def unexportable(): return Unexportable()
def fails(): raise RuntimeError("no such backbone")
def nothing(): return 1
def named():
    module = Tiny()
    module.names = {0: "cat", 1: "dog", 2: "owl"}
    return module
'''


def write_tiny(folder: Path, module: str = "tiny") -> Path:
    """Write ``<module>.py`` and ``tiny.pt`` into a folder; return the weights' path."""
    (folder / f"{module}.py").write_text(SOURCE)
    torch.save(tiny_state(), folder / "tiny.pt")
    return folder / "tiny.pt"


def tiny_module(factory: str = "build") -> torch.nn.Module:
    """Return a module of the source with the weights of ``write_tiny``, in eval mode."""
    scope: dict = {}
    exec(compile(SOURCE, "tiny", "exec"), scope)  # noqa: S102 - it is the constant above
    module = scope[factory]().eval()
    if factory != "wide":
        module.load_state_dict(tiny_state())
    return module


def tiny_state() -> dict[str, torch.Tensor]:
    """Return seeded weights, with BatchNorm statistics as training leaves them."""
    scope: dict = {}
    exec(compile(SOURCE, "tiny", "exec"), scope)  # noqa: S102 - it is the constant above
    generator = torch.Generator().manual_seed(3)
    state = {}
    for name, value in scope["build"]().state_dict().items():
        if not value.is_floating_point():
            state[name] = value
        elif name.endswith(("running_var", "norm.weight", "bn.weight")):
            state[name] = torch.rand(value.shape, generator=generator) + 0.5
        else:
            state[name] = torch.randn(value.shape, generator=generator) * 0.3
    return state
