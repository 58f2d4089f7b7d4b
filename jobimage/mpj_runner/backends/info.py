"""The note that lies beside every engine: what made it, and what it needs to run."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mpj_runner.contract.base import ShortText, Value
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.steps import BackendName, Precision

FILE: Final = "engine.json"


class EngineInfo(Value):
    """What made an engine, and what it needs."""

    backend: BackendName
    package: ShortText
    """Distribution and version of the runtime that built it."""
    hardware: ShortText
    """What it was built on."""
    precision: Precision
    device: ShortText
    """cpu or cuda."""
    needs_vnni: bool = False
    """Its int8 weights saturate on processors without VNNI or AMX."""


def write_info(info: EngineInfo, folder: Path) -> None:
    """Write the note into an engine's folder."""
    (folder / FILE).write_text(info.model_dump_json(indent=1), encoding="utf-8")


def read_info(folder: Path, backend: BackendName) -> EngineInfo:
    """Return the note of an engine's folder.

    Raises:
        UserError: there is none, or another backend built the engine.
    """
    try:
        info = EngineInfo.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{folder.name} holds no engine of this runner ({FILE}: {error}): build it again"
        ) from error
    if info.backend != backend:
        raise UserError(
            f"spec.target.backend is {backend}, but this engine was built for {info.backend}"
        )
    return info


def package_version(distribution: str) -> str:
    """Return ``name version`` of an installed distribution, or its name alone."""
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return distribution


def size_of(folder: Path) -> int:
    """Return the bytes of an engine's files, without the note."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != FILE)
    return sum(file.stat().st_size for file in files)
