"""Whole jobs with real steps, on a real API server and a real S3, by the chart's operator."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from demo import FILES, NAMESPACE, Demo, demo, deployed
from operating import condition, shown
from rest import MPJ, Json, path, polled
from tiny_world import World


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(tmp_path_factory.mktemp("real")) as cluster, deployed(cluster):
        yield cluster


def job_file(folder: Path, name: str) -> Path:
    world = World.make(folder)
    document = yaml.safe_load(world.write().read_text())
    document["metadata"]["name"] = name
    world.job.write_text(yaml.safe_dump(document))
    return world.job


def ended(running: Demo, name: str, seconds: float = 300) -> Json:
    job: Json = {}
    for _ in polled(seconds, 0.5):
        job = running.plane.api.get(path(MPJ, NAMESPACE, name)) or {}
        if job.get("status", {}).get("state") in ("Complete", "Failed"):
            return job
    raise AssertionError(shown(job.get("status", {})))


def assert_complete(running: Demo, job: Json) -> None:
    status = job["status"]
    assert status["state"] == "Complete", shown(status)
    assert condition(status, "Ready")["status"] == "True"
    assert float(status["reference"]["mAP"]) > 0
    assert {uri.rpartition("/")[2] for uri, _ in running.files(job)} == set(FILES.values())


def test_real_steps_on_real_data_end_in_a_real_status(running, tmp_path):
    name = running.apply(job_file(tmp_path, "tiny"))["metadata"]["name"]
    assert_complete(running, ended(running, name))


def test_the_store_is_away_for_a_minute(running, tmp_path):
    """Nothing but the models' own bytes is shared with the first job: pods meet a dead server."""
    name = running.apply(job_file(tmp_path, "away"))["metadata"]["name"]
    for _ in polled(60):
        if running.status(name).get("state") == "Running":
            break
    running.s3.stop()
    time.sleep(60)
    running.s3.start()
    assert_complete(running, ended(running, name, 400))
