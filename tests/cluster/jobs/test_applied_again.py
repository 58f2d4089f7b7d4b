"""``kubectl apply`` of jobs that are there already, as GitOps does it every few minutes."""

from judged import Judged, assert_complete
from kubectl import Kubectl
from operating import manifest
from rest import Json

WAYS = {"server": ["--server-side"], "client": []}
"""How each job is applied, by its name."""


def apply(world: Judged) -> str:
    """Apply each job's manifest; return what kubectl says."""
    said = []
    for name, how in WAYS.items():
        body = manifest(name, world.namespace, model={"uri": f"s3://bucket/{name}.onnx"})
        done = Kubectl(world.plane, world.namespace)("apply", *how, "--filename=-", given=body)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    return "".join(said)


def everything(world: Judged) -> Json:
    """Return all that there is of the jobs."""
    return {
        "jobs": {name: world.get(name) for name in WAYS},
        "children": {child["metadata"]["name"]: child for child in world.children()},
    }


def assert_nothing_happens(world: Judged) -> None:
    assert world.calm(0.5) == 0
    before, since = everything(world), world.plane.audited()
    assert "created" not in apply(world) + apply(world)
    world.calm(2)
    assert not world.writes(since)
    assert everything(world) == before
    assert {job["metadata"]["generation"] for job in before["jobs"].values()} == {1}


def test_applying_jobs_again_changes_nothing(world, operating, answers):
    with answers.holding("reference", "calibrate"):
        assert apply(world).count("serverside-applied") == 1
        for name in WAYS:
            world.until_unit("reference", name, state="Running")
            world.until_unit("calibrate", name, state="Running")
        assert_nothing_happens(world)
    for name in WAYS:
        assert_complete(world.until("Complete", name))
    assert_nothing_happens(world)
