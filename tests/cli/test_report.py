"""``mpj report``, and the words of ``mpj`` itself."""

from pathlib import Path

import pytest
from tiny_world import Ran, World

from mpj_operator import __version__


def test_it_tells_what_the_run_told(finished: tuple[World, Ran]):
    world, ran = finished
    told = world.mpj("report", str(world.out))
    assert told.code == 0
    lines = told.output.splitlines()
    best = world.status["best"]
    assert f"{best['name']}: {best['reason']}" in lines
    assert str(world.out / "report.html") in lines
    table = [line for line in lines if " Accepted " in line or " Rejected " in line]
    assert table == [
        line for line in ran.output.splitlines() if " Accepted " in line or " Rejected " in line
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(None, "No such file or directory: name the --out folder of a finished mpj run",
                     id="no report"),
        pytest.param('{"schemaVersion": "2"}', "not a report of this version (schemaVersion: Input "
                     "should be '1'): run the job again", id="another version"),
        pytest.param("{", "not a report of this version (file: Invalid JSON: ", id="cut short"),
    ],
)  # fmt: skip
def test_a_folder_without_a_report(tmp_path: Path, text: str | None, words: str):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    told = World(tmp_path).mpj("report", str(tmp_path))
    assert told.code == 2
    assert told.output.startswith(f"error: {tmp_path}/report.json: ")
    assert words in told.output
    assert "Traceback" not in told.output
    assert len(told.output.splitlines()) == 1


def test_help_names_every_command(tmp_path: Path):
    told = World(tmp_path).mpj("--help")
    assert told.code == 0
    for command in ("run", "plan", "validate", "report"):
        assert f"\n  {command} " in told.output
    assert World(tmp_path).mpj("--version").output == f"mpj, version {__version__}\n"


def test_validate_tells_of_every_file_and_refuses_local_files_for_a_cluster(tmp_path: Path):
    world = World.make(tmp_path)
    good = str(world.write())
    (tmp_path / "bad.yaml").write_text(world.job.read_text().replace("int8", "INT8"))
    bad, gone = str(tmp_path / "bad.yaml"), str(tmp_path / "gone.yaml")
    told = world.mpj("validate", good, bad, gone)
    assert told.code == 2
    assert told.output.splitlines() == [
        f"{good}: tiny is valid",
        f"{bad}: spec.candidates[0].name: must be a DNS label: lower-case letters, digits and - "
        "inside",
        f"{gone}: No such file or directory",
    ]
    told = world.mpj("validate", "--cluster", good)
    words = "must be s3://bucket/key or pvc://claim/path: only `mpj run` reads local files"
    assert told.code == 2
    assert f"{good}: spec.model.uri: {words}" in told.output.splitlines()
