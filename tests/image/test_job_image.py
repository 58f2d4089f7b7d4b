"""The job's image, built, and the demo job done by its containers under the restricted profile."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import buildah
import pytest
import yaml
from job_values import pod_of
from sandbox import Node
from simulated import SETTINGS, Simulation

from mpj_operator import __version__
from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.core import params
from mpj_operator.core.observed import ChildSeen, ContainerSeen, PodSeen
from mpj_runner.stores.base import file_digest

pytestmark = pytest.mark.image
DEMO: Final = buildah.ROOT / "examples/demo"
IMPORTS: Final = """
import importlib, pathlib, pkgutil, sys
import mpj_runner
for module in pkgutil.walk_packages(mpj_runner.__path__, "mpj_runner."):
    if not module.name.endswith(("tensorrt", "tensorrt_rtx", "__main__")):
        importlib.import_module(module.name)
for name in ("modelopt.onnx.quantization", "modelopt.torch.quantization", "openvino"):
    importlib.import_module(name)
print("imported", len(sys.modules))
print("not compiled", sorted(
    name for name, module in sys.modules.items()
    if isinstance(cached := getattr(module, "__cached__", None), str)
    and not pathlib.Path(cached).exists()
))
"""


@pytest.fixture(scope="module")
def config(job_image: str) -> dict[str, Any]:
    return buildah.config_of(job_image)


@pytest.fixture(scope="module")
def node(
    job_image: str, config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    with buildah.mounted(job_image) as root:
        yield Node(root, config["Env"], tmp_path_factory.mktemp("node"))


def test_the_image_says_who_it_is_and_how_it_starts(config: dict[str, Any]):
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["python", "-m", "mpj_runner"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Labels"]["org.opencontainers.image.title"] == "mixedprecision-job"
    wanted = {"PYTHONSAFEPATH=1", "PYTHONPATH=/app", "PYTHONHASHSEED=0", "ORT_DISABLE_TELEMETRY=1"}
    assert wanted <= set(config["Env"])


def test_it_holds_the_locks_versions_and_nothing_else(node: Node):
    script = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name: d.version for d in m.distributions()}))"
    )
    listed = json.loads(node.run("python", "-c", script).output)
    found = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in listed.items()}
    assert {"torch", "nvidia-modelopt", "onnxruntime-gpu", "openvino", "boto3"} <= set(found)
    assert not {"kopf", "kubernetes", "pip", "uv", "pytest", "ultralytics"} & set(found)
    assert set(found.items()) <= buildah.LOCK


def test_its_user_can_write_to_nothing_that_is_run(node: Node):
    found = node.run("find", "/app", "/opt/mpj", "-writable", "!", "-type", "l")
    assert (found.code, found.output) == (0, "")
    assert node.run("id", "-u").output.strip() == "65532"


def test_everything_imports_and_is_compiled_since_the_root_is_read_only(node: Node):
    found = node.run("python", "-W", "ignore", "-c", IMPORTS)
    assert found.code == 0, found.output[-3000:]
    assert found.output.splitlines()[-1] == "not compiled []"


def test_it_helps(node: Node):
    for module, word in (("mpj_runner", "--request"), ("mpj_runner.gc", "--older-than")):
        found = node.run("python", "-m", module, "--help")
        assert (found.code, word in found.output) == (0, True), found.output


@dataclass
class Done(Simulation):
    """The plan's own Jobs, done by containers."""

    node: Node = field(kw_only=True)

    def succeed(self, child: ChildSeen, *, readable: bool = True) -> None:
        """Run a child's pod; a container that fails ends the test with what it said."""
        ended = self.node.pod(child.unit, pod_of(self.values[child.name]))
        assert ended.code == 0, f"{child.unit}: exit {ended.code}\n{ended.output[-3000:]}"
        container = ContainerSeen("last", "terminated", 0, "Completed", ended.last_words)
        pod = PodSeen("p", "Succeeded", (container,), scheduled=self.now)
        self.children[child.name] = replace(
            child, outcome="Complete", finished=self.now, pods=(pod,)
        )


def demo(**spec: Any) -> MixedPrecisionJob:
    """Return the demo job as a cluster gets it: on claims, of few images, one candidate a kind."""
    job = yaml.safe_load((DEMO / "job.yaml").read_text())
    given: Mapping[str, Any] = job["spec"]
    data = {"uri": "pvc://inputs/data"}
    job["metadata"] |= {"namespace": "default", "uid": "u-1", "generation": 1}
    job["spec"] = {
        **given,
        "model": {**given["model"], "uri": "pvc://inputs/model"},
        "calibration": {**given["calibration"], **data, "maxImages": 8},
        "validation": {**given["validation"], **data, "maxImages": 24},
        "candidates": [
            {"name": "int8", "ptq": {"format": "int8", "calibrationMethod": "mse"}},
            {"name": "aq", "autoQuantize": {"format": "int8", "effectiveBits": [10]}},
            {"name": "fp16", "autoCast": {"lowPrecisionType": "fp16"}},
        ],
        "search": None,
        "storage": {"uri": "pvc://artifacts/store"},
        **spec,
    }
    return MixedPrecisionJob.model_validate(job)


def test_the_demo_job_is_done_without_a_network(
    node: Node, job_image: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(params, "BENCHMARK_SECONDS", 0.2)
    inputs = node.claim("inputs")
    shutil.copytree(DEMO / "data", inputs / "data")
    (inputs / "model").mkdir()
    for name in ("detector.py", "detector.pt"):
        shutil.copy(DEMO / name, inputs / "model")

    settings = replace(SETTINGS, image=job_image, runner_version=__version__)
    job = Done(demo(), settings=settings, node=node).run().job

    for name, ended in node.ended.items():
        print(f"{name:40}{ended.seconds:8.1f} s")  # noqa: T201 - for pytest -s
    state = {c.type: c.status for c in job.status.conditions}
    assert state["Complete"] == "True", job.status.conditions
    judged = {r.name: r for r in job.status.candidates}
    assert set(judged) == {"int8", "aq-10", "fp16"}
    assert all(r.state in ("Accepted", "Rejected") for r in judged.values()), judged
    assert all(r.map and r.map > 0.4 for r in judged.values()), judged

    store = node.claim("artifacts") / "store/default"
    blobs = [path for path in (store / "blobs/sha256").iterdir() if path.is_file()]
    assert blobs
    assert all(file_digest(path) == path.name for path in blobs)
    assert {path.stat().st_uid for path in blobs} == {65532}
    folder = store / "jobs/default/demo/u-1"
    report = json.loads((folder / "report.json").read_text())
    assert {row["name"] for row in report["candidates"]} == set(judged)
    assert (folder / "report.html").stat().st_size > 10_000


def test_old_artifacts_are_removed_in_it(node: Node):
    manifest = yaml.safe_load((buildah.ROOT / "deploy/gc/cronjob.yaml").read_text())
    spec = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    store = node.claim("old")
    for name in ("a", "b"):
        path = store / "blobs/sha256" / (name * 64)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    container["env"] = []
    container["command"] += ["file:///old", "--older-than=0m", "--delete"]
    container["volumeMounts"].append({"name": "old", "mountPath": "/old"})
    spec["volumes"].append({"name": "old", "persistentVolumeClaim": {"claimName": "old"}})
    for path in (store, *store.rglob("*")):
        shutil.chown(path, 65532, 65532)
    ended = node.pod("gc", spec)
    assert ended.code == 0, ended.output
    assert "removed 2 blobs" in ended.output
    assert [path for path in store.rglob("*") if path.is_file()] == []
