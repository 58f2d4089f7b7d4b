"""Bad input that the spec alone shows: exit 2, a line for each problem, and nothing is started."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tiny_world import World


@dataclass(frozen=True)
class Row:
    """One way to get it wrong."""

    id: str
    lines: tuple[str, ...]
    """What the terminal must say after the file's name."""
    spec: dict | None = None
    """Members to change."""
    text: Callable[[str], str] | None = None
    """Changes the file's text."""


ROWS = [
    Row(
        "the YAML is broken",
        ("line 5, column 3: while parsing a block mapping, expected <block end>, but found "
         "'<block mapping start>'",),
        text=lambda text: text.replace("  name: tiny", "    name: tiny\n  labels: {}\n    x: 1"),
    ),
    Row("the file is empty", ("the file holds no document",), text=lambda _: ""),
    Row(
        "it is another kind of resource",
        ("kind: must be MixedPrecisionJob",),
        text=lambda text: text.replace("kind: MixedPrecisionJob", "kind: Job"),
    ),
    Row(
        "a field is unknown",
        ("spec.calibratoin: unknown field: did you mean calibration?",),
        spec={"calibratoin": {}},
    ),
    Row(
        "two fields are wrong",
        ("spec.model.uri: is required",
         "spec.objective.maxAccuracyDrop: must be a quoted decimal: write \"0.01\" instead "
         "of 0.01"),
        text=lambda text: text.replace("uri: model.onnx", "decoder: YOLO").replace(
            "minSpeedup: '0'", "maxAccuracyDrop: 0.01"
        ),
    ),
    Row(
        "the backend is not supported",
        ("spec.target.backend: must be openvino, onnxruntime, tensorrt or tensorrt-rtx",),
        spec={"target": {"backend": "coreml"}},
    ),
    Row(
        "the format is not supported by the backend",
        ("spec.candidates[0].ptq.format: must be int8: fp8 needs backend tensorrt or "
         "tensorrt-rtx",),
        spec={"candidates": [{"name": "fp8", "ptq": {"format": "fp8"}}]},
    ),
    Row(
        "the type is not supported by the backend",
        ("spec.candidates[0].autoCast.lowPrecisionType: must be fp16: ONNX Runtime has no "
         "bf16 convolutions on CPUs",),
        spec={"candidates": [{"name": "bf16", "autoCast": {"lowPrecisionType": "bf16"}}]},
    ),
    Row(
        "a setting is another backend's",
        ("spec.target.workspaceSize: is for tensorrt and tensorrt-rtx only: remove it",),
        spec={"target": {"workspaceSize": "4Gi"}},
    ),
    Row(
        "two candidates have one name",
        ("spec.candidates[1].name: must be unique",),
        spec={"candidates": [{"name": "a", "ptq": {}}, {"name": "a", "autoCast": {}}]},
    ),
    Row(
        "two candidates have one name once budgets are expanded",
        ("spec.candidates[1].name: makes a name twice once effectiveBits are expanded",),
        spec={
            "candidates": [
                {"name": "a-9", "ptq": {}},
                {"name": "a", "autoQuantize": {"effectiveBits": [9]}},
            ]
        },
    ),
    Row(
        "a candidate has a unit's name",
        ("spec.candidates[0].name: is reserved: prepare, reference, baseline, calibrate, "
         "score, final, report and search-* are names of units",),
        spec={"candidates": [{"name": "baseline", "ptq": {}}]},
    ),
    Row(
        "the model's format cannot be told from its name",
        ("spec.model.format: must be ultralytics, torch or onnx: the uri ends in none of "
         ".pt, .pth, .onnx",),
        spec={"model": {"uri": "weights.bin"}},
    ),
    Row(
        "a state dict has no factory",
        ("spec.model.factory: is required for torch models: module:function that builds "
         "the nn.Module",),
        spec={"model": {"uri": "weights.pth"}},
    ),
    Row(
        "the model is on a web server",
        ("spec.model.uri: https:// is not supported: copy it to s3://bucket/key or "
         "pvc://claim/path",),
        spec={"model": {"uri": "https://example.com/model.onnx"}},
    ),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
@pytest.mark.parametrize("command", ["run", "plan", "validate"])
def test_a_wrong_spec_is_told_and_nothing_starts(tmp_path: Path, row: Row, command: str):
    world = World.make(tmp_path)
    world.change(**row.spec or {})
    job = world.write()
    if row.text:
        job.write_text(row.text(job.read_text()))
    out = () if command == "validate" else ("--out", str(world.out))
    ran = world.mpj(command, str(job), *out)
    assert ran.code == 2
    start = "" if command == "validate" else "error: "
    assert ran.output.splitlines() == [f"{start}{job}: {line}" for line in row.lines]
    assert not world.out.exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda path: None, "{job}: No such file or directory", id="is not there"),
        pytest.param(lambda path: path.write_bytes(b"\xff\xfe"), "{job}: is not UTF-8 text",
                     id="is not text"),
        pytest.param(lambda path: path.mkdir(), "File '{job}' is a directory.", id="is a folder"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read(tmp_path: Path, make, words: str):
    world = World(tmp_path)
    make(world.job)
    ran = world.mpj("run", str(world.job), "--out", str(world.out))
    assert (ran.code, world.out.exists()) == (2, False)
    assert words.format(job=world.job) in ran.output


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_file_with_two_jobs(tmp_path: Path, command: str):
    world = World.make(tmp_path)
    text = world.write().read_text()
    world.job.write_text(f"{text}---\n{text}")
    ran = world.mpj(command, str(world.job), "--out", str(world.out))
    words = "the file holds 2 documents: this command takes one job"
    assert (ran.code, ran.output) == (2, f"error: {world.job}: {words}\n")
    assert not world.out.exists()


def test_an_output_folder_that_cannot_be_made(tmp_path: Path):
    world = World.make(tmp_path)
    (tmp_path / "file").write_text("in the way")
    ran = world.mpj("run", str(world.write()), "--out", str(tmp_path / "file" / "out"))
    assert ran.code == 2
    assert ran.output == (
        f"error: --out {tmp_path}/file/out: Not a directory: name a folder that this user may "
        "write\n"
    )


def test_a_suspended_job_is_not_waited_for(tmp_path: Path):
    world = World.make(tmp_path)
    world.change(suspend=True)
    ran = world.run()
    words = "spec.suspend: is true, so nothing would run: set it to false"
    assert (ran.code, ran.output) == (2, f"error: {world.job}: {words}\n")
    assert not world.out.exists()


@pytest.mark.parametrize("count", [0, 3])
def test_a_run_takes_one_file(tmp_path: Path, count: int):
    files = [str(tmp_path / f"{number}.yaml") for number in range(count)]
    ran = World(tmp_path).mpj("run", *files)
    assert ran.code == 2
    assert "Usage: " in ran.output


def test_what_the_rows_break_is_right_before(tmp_path: Path):
    world = World.make(tmp_path)
    ran = world.mpj("validate", str(world.write()))
    assert (ran.code, ran.output) == (0, f"{world.job}: tiny is valid\n")
    assert yaml.safe_load(world.job.read_text())["spec"] == world.spec


@pytest.mark.parametrize("command", ["run", "plan"])
def test_claims_are_for_clusters(tmp_path: Path, command: str):
    world = World.make(tmp_path)
    world.change(
        model={"uri": "pvc://models/a.onnx"},
        candidates=[{"name": "mine", "onnx": {"uri": "pvc://models/b.onnx"}}],
        storage={"uri": "pvc://artifacts/x"},
    )
    ran = world.mpj(command, str(world.write()), "--out", str(world.out))
    assert ran.code == 2
    words = "is on a claim of a cluster, which this computer can't mount: name a path or s3://"
    assert ran.output.splitlines() == [
        f"error: {world.job}: spec.model.uri: pvc://models/a.onnx {words}",
        f"error: {world.job}: spec.candidates[mine].onnx.uri: pvc://models/b.onnx {words}",
        f"error: {world.job}: spec.storage.uri: pvc://artifacts/x {words}, or give --store",
    ]
    assert not world.out.exists()
    ran = world.mpj(command, str(world.job), "--store", str(tmp_path / "store"))
    assert "artifacts" not in ran.output
    assert world.mpj("validate", str(world.job)).code == 0
