"""Read a state dict into a module that the user's factory builds."""

import importlib
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import Decoder, InputSize
from mpj_runner.loading.network import FOREIGN, Network

SUFFIXES: Final = (".pt", ".pth", ".ckpt", ".bin")
SHOWN: Final = 5
"""Keys that a message lists."""


def load_torch(
    path: Path, factory: str | None, decoder: Decoder, input_size: InputSize | None
) -> Network:
    """Build the module with the user's factory and load the state dict into it.

    Args:
        path: the state dict's file, or a folder that holds it beside the factory's module.
        factory: "package.module:function"; the module is looked for beside the file first.
        decoder: what the spec says of the module's output.
        input_size: pixels; default 640 x 640.

    Raises:
        UserError: the file is no state dict, the factory cannot be found or fails, or keys and
            shapes of the two do not match.
    """
    file = _weights_file(path)
    state, classes = _state_dict(file)
    module = _build(factory, file.resolve().parent)
    _fill(module, state, factory)
    return Network(
        module=module.float().eval(),
        classes=classes or _names(getattr(module, "names", None)),
        decoder=decoder,
        input_size=input_size or InputSize(),
        origin=f"spec.model.factory {factory}",
    )


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES) if path.is_dir() else []
    if len(found) != 1:
        raise UserError(
            f"spec.model.uri names a folder with {len(found)} weight files"
            f" ({', '.join(SUFFIXES)}): exactly one is needed, beside the factory's module"
        )
    return found[0]


def _state_dict(path: Path) -> tuple[Mapping[str, Tensor], tuple[str, ...] | None]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _starts_like_a_checkpoint(path):
            raise UserError(
                "the file of spec.model.uri is a pickle of Python objects where a state dict was"
                " asked for: save it with torch.save(model.state_dict(), path), or set"
                " spec.model.format: ultralytics if it is an Ultralytics checkpoint"
            ) from error
        raise _unreadable(path, error) from error
    except (EOFError, RuntimeError, ValueError, KeyError, OSError) as error:
        raise _unreadable(path, error) from error
    classes = None
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        classes = _names(loaded.get("classes", loaded.get("names")))
        loaded = loaded["state_dict"]
    tensors = isinstance(loaded, Mapping) and loaded
    if not tensors or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise UserError(
            "the file of spec.model.uri holds no state dict (a mapping of names to tensors): save"
            " it with torch.save(model.state_dict(), path)"
        )
    prefixed = all(
        key.startswith("module.") for key in loaded
    )  # saved from DistributedDataParallel
    return {k.removeprefix("module.") if prefixed else k: v for k, v in loaded.items()}, classes


def _starts_like_a_checkpoint(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")  # a zip archive, or pickle's protocol 2


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"the file of spec.model.uri cannot be read as a state dict: it is truncated or no PyTorch"
        f" file ({path.stat().st_size} bytes; {str(error).splitlines()[0] if str(error) else ''}"
        "); upload it again"
    )


def _names(value: object) -> tuple[str, ...] | None:
    """Return class names from a sequence, or from a mapping of index to name; else None."""
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, (list, tuple)) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    return None


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Put a folder first on the import path, and forget afterwards what came from it."""
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            origin = getattr(module, "__file__", None)
            if origin and Path(origin).is_relative_to(folder):
                del sys.modules[name]


def _build(factory: str | None, folder: Path) -> nn.Module:
    name, _, attribute = (factory or "").partition(":")
    if not name or not attribute:
        raise UserError(
            'spec.model.factory must be "package.module:function" for format torch: a function'
            " without arguments that returns the nn.Module"
        )
    with _importable(folder):
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise UserError(
                f'spec.model.factory names the module "{name}": {error}; put it beside the model'
                " file (in a bucket or claim: let spec.model.uri name the folder of both), or"
                " install it in the runner's image (spec.podOverrides.image)"
            ) from error
        except FOREIGN as error:
            raise UserError(
                f'spec.model.factory: importing "{name}" fails: {error!r:.300}'
            ) from error
        function = getattr(found, attribute, None)
        if not callable(function):
            raise UserError(f'spec.model.factory: module "{name}" has no function "{attribute}"')
        try:
            module = function()
        except FOREIGN as error:
            raise UserError(f"spec.model.factory: {factory}() fails: {error!r:.300}") from error
    if not isinstance(module, nn.Module):
        raise UserError(
            f"spec.model.factory: {factory}() returned {type(module).__name__}, not an nn.Module"
        )
    return module


def _fill(module: nn.Module, state: Mapping[str, Tensor], factory: str | None) -> None:
    own = module.state_dict()
    problems = {
        "missing in the file": sorted(own.keys() - state.keys()),
        "unknown to the module": sorted(state.keys() - own.keys()),
        "of another shape": sorted(
            f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
            for key in own.keys() & state.keys()
            if own[key].shape != state[key].shape
        ),
    }
    found = [
        f"{len(keys)} {what}: {', '.join(keys[:SHOWN])}{', …' if len(keys) > SHOWN else ''}"
        for what, keys in problems.items()
        if keys
    ]
    if found:
        raise UserError(
            f"the state dict of spec.model.uri does not fit the module of spec.model.factory"
            f" {factory}: {'; '.join(found)}"
        )
    module.load_state_dict(state)
