"""``mpj plan``: what would run and what is there, without touching anything."""

from pathlib import Path

from tiny_world import Ran, World


def rows(ran: Ran) -> dict[str, str]:
    """Return the steps column by unit."""
    assert ran.code == 0, ran.output
    lines = ran.output.splitlines()[1:]
    return {line.split()[0]: " ".join(line.split()[2:]) for line in lines}


def plan(world: World, *words: str) -> dict[str, str]:
    return rows(world.mpj("plan", str(world.write()), "--out", str(world.out), *words))


def test_before_the_first_run(tmp_path: Path):
    world = World.make(tmp_path)
    assert plan(world) == {
        "prepare": "export runs, snapshot-calibration runs, snapshot-validation runs",
        "reference": "waits for prepare",
        "baseline": "waits for 2 units",
        "calibrate": "waits for prepare",
        "int8": "waits for 4 units",
        "final": "waits for 5 units",
        "report": "waits for 6 units",
    }
    assert not world.out.exists()


def test_after_a_run_everything_but_measurements_is_there(world: World):
    before = {path: path.stat().st_mtime_ns for path in world.out.rglob("*")}
    cached = "build cached, eval cached, benchmark measured anew"
    assert plan(world) == {
        "prepare": "export cached, snapshot-calibration cached, snapshot-validation cached",
        "reference": cached,
        "baseline": cached,
        "calibrate": "calibrate cached",
        "int8": f"ptq cached, {cached}",
        "final": "benchmark measured anew",
        "report": "waits for final",
    }
    assert {path: path.stat().st_mtime_ns for path in world.out.rglob("*")} == before


def test_a_change_is_followed_as_far_as_it_reaches(world: World):
    world.change(validation={"maxImages": 5})
    world.spec["candidates"] += [{"name": "max", "ptq": {"calibrationMethod": "max"}}]
    world.change(search={"maxTrials": 4})
    found = plan(world)
    assert found["prepare"].endswith("snapshot-calibration cached, snapshot-validation runs")
    assert found["reference"] == "waits for prepare"
    assert found["search-…"] == "to 4 more trials"


def test_another_store_holds_nothing(world: World, tmp_path: Path):
    found = plan(world, "--store", str(tmp_path / "elsewhere"))
    assert found["prepare"].startswith("export runs")
    assert not (tmp_path / "elsewhere").exists()


def test_bad_content_is_told_as_far_as_looking_shows_it(world: World):
    (world.root / "model.onnx").unlink()
    ran = world.mpj("plan", str(world.write()), "--out", str(world.out))
    assert ran.code == 2
    assert ran.output == f"error: spec.model.uri: {world.root}/model.onnx does not exist\n"
