"""buildah, with a store of our own and a Debian base made here: no registry is asked."""

import fcntl
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = frozenset(
    re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text())
)
"""Names and versions; a name may have one version for each Python."""
STORE: Final = ROOT / ".cache/images"
BASE: Final = "localhost/mpj-base:bookworm"
_PACKAGES: Final = "python3,python3-venv,ca-certificates"
_MOUNTS: Final = ("/etc/ssl/certs", "/etc/pip.conf", "/etc/uv")
"""How this machine reaches its package index; mounted, so that no image keeps it."""


class BuildahError(Exception):
    """Raise with the end of what buildah said."""


def run(*words: str, seconds: int = 3600) -> str:
    """Return what a command says on standard output.

    Raises:
        BuildahError: it fails.
    """
    done = subprocess.run(
        ["buildah", "--root", STORE / "root", "--runroot", STORE / "run", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip
    if done.returncode != 0:
        raise BuildahError((done.stdout + done.stderr)[-4000:])
    return done.stdout


def build(target: str, context: Path = ROOT) -> str:
    """Build a target and return its image's name.

    Raises:
        BuildahError: a step fails.
    """
    image = f"localhost/mpj-{target}:test"
    run(
        "bud", "--layers", "--force-rm", "--isolation", "chroot", "--network", "host",
        *(f"--volume={path}:{path}:ro" for path in _MOUNTS if Path(path).exists()),
        f"--build-arg=BASE={BASE}", "--target", target, "-t", image, str(context),
    )  # fmt: skip
    return image


@contextmanager
def container(image: str) -> Iterator[str]:
    """Give a container of an image for the length of a block."""
    name = run("from", "--pull-never", image).strip()
    try:
        yield name
    finally:
        run("rm", name)


@contextmanager
def mounted(image: str) -> Iterator[Path]:
    """Give the root of a container of an image as a folder for the length of a block."""
    with container(image) as name:
        yield Path(run("mount", name).strip())


def config_of(image: str) -> dict[str, Any]:
    """Return what an image says of how it runs: User, Env, Entrypoint, Labels."""
    return dict(json.loads(run("inspect", "--type", "image", image))["OCIv1"]["config"])


def have_base() -> None:
    """Make the base once for all runs: Debian with Python and certificates."""
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if BASE.partition(":")[0] not in run("images", "--format", "{{.Name}}").split():
            _bootstrap()


def _bootstrap() -> None:
    folder = STORE / "debian"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", folder],
        check=True, capture_output=True, timeout=1800,
    )  # fmt: skip
    shutil.rmtree(folder / "var/cache/apt/archives", ignore_errors=True)
    name = run("from", "scratch").strip()
    run("add", "-q", name, str(folder), "/")
    run("commit", "-q", name, BASE)
    run("rm", name)
    shutil.rmtree(folder)
