"""What a backend is: it builds an engine from a graph, and runs an engine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from mpj_runner.contract.files import EngineLayers
from mpj_runner.contract.steps import BuildParams, Precision

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RunOptions:
    """How an engine is to be run."""

    precision: Precision
    """fp32 forbids TF32 and BF16 inside the engine."""
    threads: int | None = None
    """CPU threads; None: the CPU limit of the container or machine."""


class Engine(Protocol):
    """A loaded engine; a context manager that frees what it holds."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def infer(self, batch: Array) -> Array:
        """Run one batch.

        Args:
            batch: (batch, 3, height, width) float32, contiguous.

        Returns:
            The model's one output as float32, a fresh array.
        """
        ...

    def stepper(self, batch: Array) -> Callable[[], float]:
        """Return a function that runs the batch once and returns the time in milliseconds.

        Inputs and outputs are bound beforehand. CPU backends time the call; GPU backends time
        transfers in, compute and transfers out with the input already in pinned host memory.
        """
        ...


class Backend(Protocol):
    """One way to run a model."""

    def build(self, onnx: Path, params: BuildParams, folder: Path) -> EngineLayers:
        """Write the engine of a legalised graph into an empty folder.

        Args:
            onnx: the graph, already legalised for this backend (``graph.legalize``).
            params: precision, batch, threads and builder settings.
            folder: receives the engine's files.

        Returns:
            What runs in which type, read back from the built engine.

        Raises:
            UserError: the backend cannot build this graph here; its own words included.
        """
        ...

    def load(self, folder: Path, options: RunOptions) -> Engine:
        """Load an engine from the folder that ``build`` wrote.

        Raises:
            UserError: the hardware that the engine needs is absent.
        """
        ...

    def hardware(self) -> str:
        """Return the GPU product, or the CPU model with its ISA, that this backend runs on."""
        ...
