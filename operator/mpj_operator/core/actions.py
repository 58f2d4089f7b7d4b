"""What a plan asks the shell to do."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Create:
    """Create a batch/v1 Job; an existing one of the same name that is ours means done."""

    job: dict[str, Any]

    @property
    def name(self) -> str:
        """The Job's name."""
        return str(self.job["metadata"]["name"])

    def __str__(self) -> str:
        """Say what is done, without the whole Job."""
        return f"create {self.name}"


@dataclass(frozen=True)
class Delete:
    """Delete a batch/v1 Job with its pods; a missing one means done."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"delete {self.name}: {self.reason}"


@dataclass(frozen=True)
class SetTtl:
    """Let the cluster remove a finished child after this many seconds; None: keep it."""

    name: str
    seconds: int | None

    def __str__(self) -> str:
        return (
            f"keep {self.name}"
            if self.seconds is None
            else (f"delete {self.name} in {self.seconds} s")
        )


@dataclass(frozen=True)
class SetDeadline:
    """Let a live child be active for this many seconds; None: for as long as it takes."""

    name: str
    seconds: int | None

    def __str__(self) -> str:
        return f"give {self.name} {'no deadline' if self.seconds is None else f'{self.seconds} s'}"


Action = Create | Delete | SetTtl | SetDeadline
