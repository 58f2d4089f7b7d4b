"""What passes between a sealed container and its pod: a task in, files and numbers out.

A sealed container runs code that came with a user's model: a pickle, a factory. It has no store, no
Secret, and shares one folder with the pod. What it leaves there is taken for what a stranger sent:
no link is followed, nothing but plain files of expected names is taken, and neither its cache key
nor its name is its own to choose.
"""

import json
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError

from mpj_runner.contract.base import Value
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.messages import Request
from mpj_runner.contract.steps import ExportOutcome, StepName
from mpj_runner.steps.table import STEPS, step

_TASK: Final = "task.json"
_RESULT: Final = "result.json"
_RESULT_BYTES: Final = 65_536


@dataclass(frozen=True)
class _Kind:
    files: frozenset[str]
    outcome: type[Value]


LEAVES: Final[Mapping[StepName, _Kind]] = {
    "export": _Kind(frozenset({"model", "metadata"}), ExportOutcome),
}
"""The steps that run sealed, and all that each leaves behind."""


class _Task(Value):
    needed: bool
    """False: the store has the result."""
    inputs: dict[str, str] = {}
    """Paths, relative to the folder where they lie in it."""


class Left(Value):
    """What a sealed container left: checked, but no more trustworthy than the code it ran."""

    files: dict[str, str]
    """Paths relative to the folder."""
    outcome: dict[str, Any]
    seconds: float = Field(ge=0)

    def paths(self, folder: Path) -> dict[str, Path]:
        """Return the files' places."""
        return {name: folder / relative for name, relative in self.files.items()}


def cleared(folder: Path) -> Path:
    """Return the folder without anything in it: a pod's containers may run again after a reboot."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return folder


def hand_over(folder: Path, inputs: Mapping[str, Path] | None) -> None:
    """Write the task of the pod's sealed container; None: it has nothing to do."""
    paths = {
        name: str(path.relative_to(folder) if path.is_relative_to(folder) else path)
        for name, path in (inputs or {}).items()
    }
    task = _Task(needed=inputs is not None, inputs=paths)
    (folder / _TASK).write_text(task.model_dump_json())


def has_task(folder: Path) -> bool:
    """Tell whether the sealed container has something to do."""
    return _task(folder).needed


def perform(request: Request, folder: Path, now: Callable[[], float] = time.monotonic) -> None:
    """Run the step of a sealed container, if that is needed, and leave what it made.

    Raises:
        UserError: retrying cannot help.
        TransientError: it may.
    """
    task = _task(folder)
    if not task.needed:
        return
    if request.step not in LEAVES:
        raise UserError(f"{request.step} does not run without a store: the request names none")
    try:
        params = STEPS[request.step].params.model_validate(request.params)
    except ValidationError as error:
        raise UserError(f"{request.step}: {error}") from error
    work = folder / "steps" / request.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    inputs = {name: folder / path for name, path in task.inputs.items()}
    started = now()
    result = step(request.step)(params, inputs, work)
    left = Left(
        files={name: str(path.relative_to(folder)) for name, path in result.files.items()},
        outcome=result.outcome.to_json(),
        seconds=round(now() - started, 3),
    )
    (folder / _RESULT).write_text(left.model_dump_json())


def left_by(name: str, step_name: StepName, folder: Path) -> Left:
    """Return what a sealed container left.

    Args:
        name: the container's.
        step_name: its step.
        folder: what it shared with the pod.

    Raises:
        UserError: it is not what the step leaves.
    """
    try:
        return _checked(folder, LEAVES[step_name])
    except (_OddError, ValueError, OSError, RecursionError) as error:  # a path may hold a NUL
        raise UserError(
            f"{name} left something else than the step {step_name} does, so the code that came "
            f"with the model did it: do not trust this model ({str(error).splitlines()[0]})"
        ) from error


def _checked(folder: Path, kind: _Kind) -> Left:
    path = _plain(folder, _RESULT)
    if path.lstat().st_size > _RESULT_BYTES:
        raise _OddError(f"{_RESULT} is too long")
    left = Left.model_validate_json(path.read_bytes())
    kind.outcome.model_validate(left.outcome)
    if left.files.keys() != kind.files:
        raise _OddError(f"the files are {', '.join(sorted(left.files)[:8]) or 'none'}")
    for relative in left.files.values():
        _plain(folder, relative)
    return left


class _OddError(Exception):
    """Say what is odd about a thing that a sealed container left."""


def _plain(folder: Path, relative: str) -> Path:
    """Return the path of a plain file below a folder; no link leads there, nor out of it."""
    parts = Path(relative).parts
    if not parts or Path(relative).is_absolute() or ".." in parts:
        raise _OddError(f"{relative!r} is no path below its folder")
    path = folder
    for part, is_wanted in _steps(parts):
        path = path / part
        mode = path.lstat().st_mode
        if not is_wanted(mode):
            raise _OddError(f"{relative} is not a plain file in plain folders")
    return path


def _steps(parts: tuple[str, ...]) -> Iterable[tuple[str, Callable[[int], bool]]]:
    yield from ((part, stat.S_ISDIR) for part in parts[:-1])
    yield parts[-1], stat.S_ISREG


def _task(folder: Path) -> _Task:
    try:
        return _Task.model_validate(json.loads((folder / _TASK).read_bytes()))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder / _TASK} is not there or not a task: a request without a store is for a "
            "container whose pod fetches for it; give the request a store to run the step alone"
        ) from error
