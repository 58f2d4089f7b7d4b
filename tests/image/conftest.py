"""Images for the tests of this folder, where images can be built."""

import os
import shutil
from typing import Final

import buildah
import pytest

NEEDED: Final = "MPJ_NEED_IMAGES"
JOB_WANTED: Final = "MPJ_JOB_IMAGE"


@pytest.fixture(scope="session")
def base() -> None:
    """Have the base, or skip; with MPJ_NEED_IMAGES=1 (CI), fail."""
    _need("buildah", "debootstrap")
    buildah.have_base()


@pytest.fixture(scope="session")
def operator_image(base: None) -> str:
    """Return the operator's image, built now."""
    return buildah.build("operator")


@pytest.fixture(scope="session")
def job_image(request: pytest.FixtureRequest) -> str:
    """Return the job's image, built now if that is asked for: it takes 7 GB and minutes."""
    if os.environ.get(JOB_WANTED) != "1":
        pytest.skip(f"the job's image is built with {JOB_WANTED}=1 only (make test-image JOB=1)")
    _need("runc")
    request.getfixturevalue("base")
    return buildah.build("job")


def _need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        words = f"images are built and run by root; missing: {missing}"
        if os.environ.get(NEEDED) == "1":
            pytest.fail(words)
        pytest.skip(words)
