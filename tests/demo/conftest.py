"""The demo's modules, imported as its own scripts import each other."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

DEMO = Path(__file__).parents[2] / "examples/demo"


@pytest.fixture(autouse=True)
def _demo_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEMO))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep PyTorch's threads from waiting for each other on a busy machine: the work is small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def demo() -> Path:
    return DEMO
