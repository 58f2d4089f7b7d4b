"""An image for the tests of this folder, where images can be built."""

import os
import shutil
from typing import Final

import buildah
import pytest

NEEDED: Final = "MPJ_NEED_IMAGES"


@pytest.fixture(scope="session")
def base() -> None:
    """Have the base, or skip; with MPJ_NEED_IMAGES=1 (CI), fail."""
    missing = [p for p in ("buildah", "debootstrap") if shutil.which(p) is None]
    if missing or os.geteuid() != 0:
        words = f"images are built by root with buildah and debootstrap; missing: {missing}"
        if os.environ.get(NEEDED) == "1":
            pytest.fail(words)
        pytest.skip(words)
    buildah.have_base()


@pytest.fixture(scope="session")
def operator_image(base: None) -> str:
    """Return the operator's image, built now."""
    return buildah.build("operator")
