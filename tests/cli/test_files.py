"""A job's file and folder: what paths mean, and which runs are one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tiny_world import World

from mpj_operator.commands.files import absolute_uri, locked, read_job, with_identity
from mpj_operator.core import conditions as c
from mpj_operator.shell.local import write_yaml
from mpj_runner.contract.errors import UserError
from mpj_runner.stores.open import Places

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("model.onnx", "/jobs/model.onnx"),
        ("../up/./model.onnx", "/up/model.onnx"),
        ("/abs/model.onnx", "/abs/model.onnx"),
        ("a b #1 50%.onnx", "/jobs/a b #1 50%.onnx"),
        ("50%25.onnx", "/jobs/50%25.onnx"),
        ("file://model.onnx", "/jobs/model.onnx"),
        ("file:///abs/a%20b.onnx", "/abs/a b.onnx"),
    ],
)
def test_a_path_is_relative_to_the_jobs_file_and_keeps_its_letters(uri: str, path: str):
    assert absolute_uri(uri, Path("/jobs")) == Path(path).as_uri()


def test_a_home_and_other_schemes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert absolute_uri("~/m.onnx", Path("/jobs")) == "file:///home/me/m.onnx"
    assert absolute_uri("s3://b/m.onnx", Path("/jobs")) == "s3://b/m.onnx"


def test_every_source_of_a_job_is_resolved(tmp_path: Path):
    world = World.make(tmp_path / "odd name, 100% #1")
    world.change(
        candidates=[{"name": "mine", "onnx": {"uri": "mine.onnx"}}], storage={"uri": "store"}
    )
    spec = read_job(world.write()).spec
    assert spec.candidates is not None
    sources = [spec.model, spec.calibration, spec.validation, spec.candidates[0].onnx, spec.storage]
    names = ["model.onnx", "data", "data", "mine.onnx", "store"]
    assert [s.uri for s in sources] == [(world.root / name).as_uri() for name in names]
    assert (
        Places().source(spec.model.uri, "spec.model.uri").here(tmp_path)
        == world.root / "model.onnx"
    )


def test_one_run_holds_a_folder_at_a_time(tmp_path: Path):
    with locked(tmp_path / "out"):
        with (
            pytest.raises(UserError, match=r"another mpj run \(process \d+\) works in .*--out"),
            locked(tmp_path / "out"),
        ):
            pass
        with locked(tmp_path / "other"):
            pass
    with locked(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    ("change", "ended", "resumes"),
    [
        pytest.param({}, False, True, id="an unfinished run of the same spec"),
        pytest.param({}, True, False, id="a finished run"),
        pytest.param({"parallelism": 7}, False, False, id="another spec"),
    ],
)
def test_an_identity_lasts_until_the_job_ends(tmp_path: Path, change, ended, resumes):
    world = World.make(tmp_path)
    first = with_identity(read_job(world.write()), tmp_path)
    assert with_identity(read_job(world.job), tmp_path).metadata.uid != first.metadata.uid
    if ended:
        stamp = c.Stamp(NOW, 1)
        conditions = c.failed((), "PrepareFailed", "no model", stamp)
        status = first.status.model_copy(update={"conditions": conditions})
        first = first.model_copy(update={"status": status})
    write_yaml(tmp_path / "status.yaml", first.to_json())
    world.change(**change)
    second = with_identity(read_job(world.write()), tmp_path)
    assert (second.metadata.uid == first.metadata.uid) is resumes
