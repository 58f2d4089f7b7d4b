"""The operator's image, built and started."""

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import buildah
import pytest
import yaml
from recording import recording

from mpj_operator import __version__

pytestmark = pytest.mark.image


def inside(image: str, *words: str, options: tuple[str, ...] = ()) -> str:
    """Return what a command says in a container of the image, as the image's own user."""
    with buildah.container(image) as name:
        return buildah.run(
            "run", "--isolation", "chroot", "--network", "host", *options, name, "--", *words
        )


@pytest.fixture(scope="module")
def config(operator_image: str) -> dict[str, Any]:
    return buildah.config_of(operator_image)


def test_the_image_says_who_it_is_and_how_it_starts(config: dict[str, Any]):
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["python", "-m", "mpj_operator"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Labels"]["org.opencontainers.image.title"] == "mixedprecision-operator"
    assert {"PYTHONSAFEPATH=1", "PYTHONPATH=/app"} <= set(config["Env"])


def test_it_holds_the_locks_versions_and_nothing_that_only_steps_need(operator_image: str):
    script = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name: d.version for d in m.distributions()}))"
    )
    listed = json.loads(inside(operator_image, "python", "-c", script))
    found = {name.lower().replace("_", "-"): version for name, version in listed.items()}
    assert {"kopf", "kubernetes", "pydantic"} <= set(found)
    assert not {"torch", "numpy", "onnx", "boto3", "pip", "uv", "pytest"} & set(found)
    assert set(found.items()) <= buildah.LOCK


def test_its_user_can_write_to_nothing_that_is_run(operator_image: str):
    assert inside(operator_image, "find", "/app", "/opt/mpj", "-writable", "!", "-type", "l") == ""
    assert inside(operator_image, "id", "-u").strip() == "65532"


def test_everything_is_compiled_since_the_root_is_read_only(operator_image: str):
    script = (
        "import mpj_operator.serve, sys, pathlib;"
        "print([n for n, m in sys.modules.items() if getattr(m, '__cached__', None)"
        " and n.split('.')[0] in ('mpj_operator', 'mpj_runner', 'kopf', 'pydantic')"
        " and not pathlib.Path(m.__cached__).exists()])"
    )
    assert inside(operator_image, "python", "-c", script).strip() == "[]"


def test_a_folder_named_operator_shadows_nothing(operator_image: str, tmp_path: Path):
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator/__init__.py").touch()
    tmp_path.chmod(0o755)
    mount = (f"--volume={tmp_path}:/work:ro", "--workingdir=/work")
    script = "from operator import eq; print(eq(1, 1))"
    assert inside(operator_image, "python", "-c", script, options=mount).strip() == "True"


def test_without_settings_it_says_which_is_missing(operator_image: str):
    with pytest.raises(buildah.BuildahError, match="MPJ_OPERATOR_IMAGE: Field required"):
        inside(operator_image, "python", "-m", "mpj_operator")


async def test_it_works_on_an_api_server_and_ends_when_it_is_told(
    operator_image: str, tmp_path: Path
):
    async with recording({"mixedprecisionjobs": []}) as (record, url):
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "c", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        }  # fmt: skip
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        tmp_path.chmod(0o755)  # noqa: ASYNC240 - one call
        options = (
            f"--volume={tmp_path}:/config:ro", "--env=KUBECONFIG=/config/config",
            "--env=MPJ_OPERATOR_IMAGE=job", "--env=MPJ_OPERATOR_PORT=0",
        )  # fmt: skip
        said = await asyncio.to_thread(
            inside, operator_image,
            "timeout", "--preserve-status", "8", "python", "-m", "mpj_operator", options=options,
        )  # fmt: skip
    assert "serving on port" in said
    watched = {r.resource for r in record.asked if r.verb == "watch"}
    assert watched == {"mixedprecisionjobs", "jobs", "pods"}


def test_a_package_that_is_not_the_locks_is_refused(base: None, tmp_path: Path):
    for name in ("Dockerfile", ".dockerignore", "LICENSE", "pyproject.toml", "requirements.lock"):
        shutil.copy(buildah.ROOT / name, tmp_path / name)
    for name in ("operator", "jobimage"):
        shutil.copytree(buildah.ROOT / name, tmp_path / name)
    lock = tmp_path / "requirements.lock"
    changed = re.sub(
        r"(?ms)^kopf==.*?(?=^[a-z])",
        lambda found: re.sub("sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", found[0]),
        lock.read_text(),
    )
    lock.write_text(changed)
    with pytest.raises(buildah.BuildahError, match=r"(?s)Hash mismatch for `kopf"):
        buildah.build("operator", tmp_path)
