"""Units that read and write claims, run as processes with folders for claims."""

import pytest
from simulated import Simulation, job
from tiny_world import SIZE, World

from mpj_operator.shell.pods import Pod
from mpj_operator.shell.processes import Processes
from mpj_runner.contract.messages import Termination


@pytest.fixture
async def processes():
    made = Processes()
    yield made
    await made.close()


async def test_a_job_on_claims_reads_and_writes_them_and_keeps_blobs_nearby(tmp_path, processes):
    world = World.make(tmp_path / "data")
    claims = {"data": world.root, "artifacts": tmp_path / "artifacts", "near": tmp_path / "near"}
    for folder in claims.values():
        folder.mkdir(exist_ok=True)
    data = {"uri": "pvc://data/data", "format": "COCO"}
    wanted = job(
        model={"uri": "pvc://data/model.onnx", "inputSize": {"height": SIZE, "width": SIZE}},
        calibration={**data, "split": "train"},
        validation={**data, "split": "val"},
        target={"backend": "onnxruntime", "threads": 1},
        storage={"uri": "pvc://artifacts/x"},
        podOverrides={"cacheVolumeClaimName": "near"},
    )
    (create,) = Simulation(wanted).step().actions
    spec = create.job["spec"]["template"]["spec"]

    async def run(name: str) -> Termination:
        folder = tmp_path / name
        for volume in spec["volumes"]:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim is not None:
                (folder / "volumes").mkdir(parents=True, exist_ok=True)
                (folder / "volumes" / volume["name"]).symlink_to(claims[claim])
        pod = Pod(name, spec, folder, folder / "logs", lambda: None, processes)
        code = await pod.run()
        logs = "".join(path.read_text() for path in (folder / "logs").iterdir())
        assert code == 0, logs
        words = Termination.decode(pod.seen.containers[-1].message)
        assert words is not None
        return words

    first, second = await run("first"), await run("second")
    names = ["export", "snapshot-calibration", "snapshot-validation"]
    assert [(s.name, s.cached) for s in first.steps] == [(name, False) for name in names]
    assert [(s.name, s.cached) for s in second.steps] == [(name, True) for name in names]
    blobs = {path.name for path in (tmp_path / "artifacts/x/default/blobs/sha256").iterdir()}
    near = {path.name for path in (tmp_path / "near/blobs/sha256").iterdir()}
    assert first.manifest is not None
    assert first.manifest.sha256 in blobs
    assert near <= blobs
    assert len(near) >= 6
    assert not (tmp_path / "first/volumes/sealed/inputs").is_symlink()
    assert [p.name for p in (tmp_path / "first/volumes/sealed/inputs/model").iterdir()] == [
        "model.onnx"
    ]
