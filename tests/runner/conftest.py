"""A store, a source, and a step that counts its runs in the place of every other."""

from pathlib import Path

import pytest
from counted import Counted

from mpj_runner import runner as runner_module
from mpj_runner.stores.file import FileStore


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(runner_module, "step", lambda name: counted)
    return counted


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_text("x")
    return path
