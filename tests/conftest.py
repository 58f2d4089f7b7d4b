"""Fixtures that several folders of tests share."""

import shutil

import pytest
from tiny_world import Ran, World


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Ran]:
    """Return a tiny world whose job has run once, to be copied and never changed."""
    world = World.make(tmp_path_factory.mktemp("finished"))
    return world, world.run()


@pytest.fixture
def world(finished: tuple[World, Ran], tmp_path) -> World:
    """Return a tiny world of the test's own: nothing has run, but the cache holds what it needs."""
    made = finished[0].copy(tmp_path / "world")
    for path in made.out.iterdir():
        if path != made.store:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return made
