"""What the tests of freezing data sets begin with."""

import pytest
from snapshots import Snapshot


@pytest.fixture
def snapshot(tmp_path):
    return Snapshot(tmp_path)


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"
