"""Places that cannot hold what a job writes, and stores whose content went bad."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_detector import detector
from tiny_world import World

Mount = Callable[[Path, str], Path]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Return a function that makes a folder a file system of its own, with mount's options."""
    mounted: list[Path] = []

    def make(path: Path, options: str) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip("mounting a file system needs root and the right to mount")
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


STORE = "set spec.storage.uri (mpj run: --store) to "


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param("size=12k", "is full (No space left on device): free some space or "
                     f"{STORE}a larger one", id="is full"),
        pytest.param("size=1m,ro", "can't be used (Read-only file system): "
                     f"{STORE}a folder that this user may write", id="is read-only"),
    ],
)  # fmt: skip
def test_a_store_that_cannot_be_written(world: World, mount: Mount, options: str, words: str):
    store = mount(world.root / "store", options)
    ran = world.run("--store", str(store))
    assert ran.code == 1
    failed = world.condition("Failed")
    assert failed["message"] == f"prepare (snapshot-calibration): the store {store} {words}"
    assert failed["message"] in ran.output
    assert "Traceback" not in ran.output
    assert world.unit("prepare")["reason"] == "UserError"
    assert [path for path in store.rglob("*") if path.is_file()] == []


def test_a_store_that_is_a_file(world: World):
    file = world.root / "file"
    file.write_text("mine")
    world.change(storage={"uri": "file"})
    ran = world.run()
    assert ran.code == 1
    assert world.condition("Failed")["message"] == (
        f"prepare (fetch): the store {file}/default can't be used (Not a directory): {STORE}a "
        "folder that this user may write"
    )
    assert file.read_text() == "mine"


def test_no_room_for_the_work_of_a_step(world: World, mount: Mount):
    mount(world.out, "size=16k")
    ran = world.run("--store", str(world.root / "store"))
    assert ran.code == 1
    assert world.unit("prepare")["reason"] == "UserError"
    message = world.unit("prepare")["message"]
    assert message.startswith(f"no space is left for {world.out}/work/")
    assert message.endswith(
        ": free some on that disk, or give the work another one (mpj run: --out; in a cluster: the "
        "node's ephemeral storage)"
    )
    assert "Traceback" not in ran.output


def test_no_room_for_the_status(world: World, mount: Mount):
    mount(world.out, "size=4k")
    ran = world.run()
    assert (ran.code, ran.output) == (
        2,
        f"error: --out {world.out}: No space left on device: free some space, or name another "
        "folder; what is finished is kept\n",
    )
    assert sorted(path.name for path in world.out.iterdir()) == [".lock"]


def test_a_file_where_a_folder_has_to_be(world: World):
    (world.out / "logs").write_text("")
    ran = world.run()
    assert ran.code == 2
    assert ran.output.startswith(f"error: --out {world.out}: ")
    assert "name another folder" in ran.output


def test_a_damaged_blob_is_told_and_made_anew(world: World):
    (manifest,) = [
        found
        for path in (world.store / "manifests/snapshot").iterdir()
        if (found := json.loads(path.read_text()))["name"] == "snapshot-validation"
    ]
    blob = world.store / "blobs/sha256" / manifest["outputs"]["annotations"]["sha256"]
    blob.write_bytes(blob.read_bytes()[::-1])
    for path in (world.store / "manifests/eval").iterdir():
        path.write_bytes(path.read_bytes()[:100])  # a cut manifest is none: it has to be read

    ran = world.run()
    assert ran.code == 1
    assert world.condition("Failed")["message"] == (
        f"reference (eval): {blob.as_uri()} was damaged (its sha256 differed from its name) and is "
        "discarded: start the job again, and it is made anew"
    )
    assert "Traceback" not in ran.output

    ran = world.run()
    assert ran.code == 0, ran.output
    assert world.damage() == []


def test_a_status_file_that_is_no_resource_is_replaced(world: World):
    (world.out / "status.yaml").write_text("kind: MixedPrecisionJob\nstatus: {units: [")
    world.remodel(detector(gain=0))
    assert world.run().code == 1
    assert world.condition("Failed")["reason"] == "ReferenceFailed"
