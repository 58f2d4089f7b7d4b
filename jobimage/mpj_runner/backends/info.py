"""The note that lies beside every engine: what made it, and what it needs to run."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, get_args

from pydantic import ValidationError

from mpj_runner.contract.base import ShortText, Value
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.quantization import Int8Products
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
    products: Int8Products = "saturating"
    """Which 8-bit products a processor must compute right for it."""


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


def check_products(info: EngineInfo, here: Int8Products, hardware: str) -> None:
    """Refuse an engine whose 8-bit products this processor computes wrongly.

    Raises:
        UserError: says what would go wrong, and what to do.
    """
    order = get_args(Int8Products)
    if order.index(info.products) <= order.index(here):
        return
    wrong = (
        "has signed 8-bit activations, which only AMX multiplies right"
        if info.products == "signed"
        else "has 8-bit weights, which saturate without VNNI or AMX"
    )
    raise UserError(
        f"spec.target.backend: this engine {wrong}; it was built on {info.hardware} and would run "
        f"on {hardware}: use one kind of node (spec.podOverrides.nodeSelector), or build the "
        "engine here"
    )


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
