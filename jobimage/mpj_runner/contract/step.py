"""The shape of a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from mpj_runner.contract.base import Value

P_contra = TypeVar("P_contra", bound=Value, contravariant=True)


@dataclass(frozen=True)
class StepResult:
    """What a step made."""

    files: Mapping[str, Path]
    """Outputs by name; a folder is stored as one deterministic tar."""
    outcome: Value
    """The few numbers that the plan needs."""


class Step(Protocol[P_contra]):
    """A function from parameters and local files to files and numbers."""

    def __call__(self, params: P_contra, inputs: Mapping[str, Path], work: Path) -> StepResult:
        """Run the step.

        Args:
            params: its parameters.
            inputs: files and folders by the names in the parameters' docstring; never written to.
            work: an empty folder of its own for whatever it writes.

        Raises:
            UserError: retrying cannot help.
            TransientError: the same call may succeed later.
        """
        ...
