"""Programs written in Go that tests start, built once from their modules into .cache/bin.

A test that needs one skips where Go or the network is missing; with MPJ_NEED_BINARIES=1 (CI) that
fails instead.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

CACHE: Final = Path(
    os.environ.get("MPJ_BINARIES") or Path(__file__).resolve().parents[2] / ".cache/bin"
)
NEEDED: Final = "MPJ_NEED_BINARIES"
BUILD_SECONDS: Final = 3600


@dataclass(frozen=True)
class Tool:
    """A command of a Go module."""

    name: str
    package: str
    version: str

    @property
    def path(self) -> Path:
        """Where the built program lies."""
        return CACHE / f"{self.name}-{self.version}"

    @property
    def folder(self) -> Path | None:
        """Where it is built; None: in no module's folder, by its version alone."""
        return None

    def build(self, go: str, output: Path) -> list[str]:
        """Return the command that builds it into a folder."""
        del output  # GOBIN says it
        return [
            go, "install", "-trimpath", "-ldflags", "-s -w", f"{self.package}@{self.version}"
        ]  # fmt: skip


TOOLS: Final = {
    tool.name: tool
    for tool in (
        Tool("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.7.0"),
        Tool("kwok", "sigs.k8s.io/kwok/cmd/kwok", "v0.8.0"),
        Tool("helm", "helm.sh/helm/v4/cmd/helm", "v4.3.1"),
    )
}


class CannotBuildError(Exception):
    """Raise when a tool is not there and can't be built here."""


def built(tool: str | Tool) -> Path:
    """Return a tool's program; the first call on a machine builds it.

    Raises:
        CannotBuildError: Go or the network is missing.
    """
    tool = TOOLS[tool] if isinstance(tool, str) else tool
    if tool.path.exists():
        return tool.path
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f".{tool.path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be building it
        if not tool.path.exists():
            _build(tool)
    return tool.path


def needed(tool: str | Tool) -> Path:
    """Return a tool's program, or skip the test; where binaries are needed, fail it."""
    try:
        return built(tool)
    except CannotBuildError as error:
        if os.environ.get(NEEDED) == "1":
            raise
        pytest.skip(str(error))


def _build(tool: Tool) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise CannotBuildError(f"{tool.name} is built with Go, and there is none on PATH")
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        done = subprocess.run(
            tool.build(go, Path(folder)),
            env={**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"},
            cwd=tool.folder or folder,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
        if done.returncode != 0:
            raise CannotBuildError(f"{tool.name} can't be built: {done.stderr.strip()[-500:]}")
        (Path(folder) / tool.name).replace(tool.path)
