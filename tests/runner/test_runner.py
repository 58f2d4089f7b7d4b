"""One container: cache, inputs, outputs, last words."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mpj_runner import __main__ as entry
from mpj_runner import runner as runner_module
from mpj_runner.contract.errands import Collect
from mpj_runner.contract.errors import TransientError, UserError
from mpj_runner.contract.messages import Input, Request, Termination, UnitManifest
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import CalibrateOutcome, CalibrateParams
from mpj_runner.errand import collect
from mpj_runner.runner import Runner
from mpj_runner.stores.base import blob_key
from mpj_runner.stores.file import FileStore
from mpj_runner.stores.garbage import old_objects
from mpj_runner.stores.overlay import OverlayStore


class Counted:
    """A step that copies its input and counts its runs; ``images`` becomes a folder."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: Exception | None = None

    def __call__(
        self, params: CalibrateParams, inputs: Mapping[str, Path], work: Path
    ) -> StepResult:
        self.runs += 1
        if self.error is not None:
            raise type(self.error)(*self.error.args)
        assert not list(work.iterdir())
        text = inputs["model"].read_text() if inputs["model"].is_file() else "folder"
        (work / "model").write_text(f"{text}!")
        (work / "images").mkdir()
        (work / "images" / "a.txt").write_text(text)
        files = {"model": work / "model", "images": work / "images"}
        return StepResult(files, CalibrateOutcome(images=1, tensors=2))


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(runner_module, "step", lambda name: counted)
    return counted


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_text("x")
    return path


def request(store: FileStore, name: str = "calibrate", **fields: object) -> Request:
    return Request.model_validate(
        {
            "step": "calibrate",
            "name": name,
            "params": {},
            "store": store.root.as_uri(),
            **fields,
        }
    )


def from_source(source: Path) -> dict[str, Input]:
    return {"model": Input(source=source.as_uri(), field="spec.model.uri")}


def pod(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.mkdir(exist_ok=True)
    return path


def test_a_second_pod_takes_the_result_from_the_cache(step, store, source, tmp_path):
    asked = request(store, inputs=from_source(source))
    first = Runner(asked, store, pod(tmp_path, "1")).execute()
    second = Runner(asked, store, pod(tmp_path, "2")).execute()
    assert step.runs == 1
    assert [s.cached for s in (*first.steps, *second.steps)] == [False, True]
    assert second.steps[0].outcome == {"images": 1, "tensors": 2}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"params": {"calibratePerNode": True}}, id="parameters"),
        pytest.param({"scope": "uid-1"}, id="scope"),
    ],
)
def test_what_a_result_depends_on_is_in_its_key(step, store, source, tmp_path, change):
    Runner(request(store, inputs=from_source(source)), store, pod(tmp_path, "1")).execute()
    changed = request(store, inputs=from_source(source), **change)
    Runner(changed, store, pod(tmp_path, "2")).execute()
    assert step.runs == 2


def test_other_bytes_are_another_key(step, store, source, tmp_path):
    asked = request(store, inputs=from_source(source))
    Runner(asked, store, pod(tmp_path, "1")).execute()
    source.write_text("y")
    Runner(asked, store, pod(tmp_path, "2")).execute()
    assert step.runs == 2


def aged(store: FileStore) -> None:
    """Make all objects a year old."""
    for path in store.root.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 365 * 86400,) * 2)


def test_no_collection_takes_what_a_pod_took_from_the_cache(step, store, source, tmp_path):
    """Long before the unit's manifest names it."""
    asked = request(store, last=False, inputs=from_source(source))
    Runner(asked, store, pod(tmp_path, "1")).execute()
    aged(store)
    before = sorted(path for path in store.root.rglob("*") if path.is_file())
    assert Runner(asked, store, pod(tmp_path, "2")).execute().steps[0].cached
    collect(store, Collect(older_than_seconds=86400, delete=True), datetime.now(UTC))
    assert sorted(path for path in store.root.rglob("*") if path.is_file()) == before


def test_no_collection_takes_old_bytes_that_are_made_again(step, store, source, tmp_path):
    """Between the put of a result's files and that of its manifest."""
    Runner(
        request(store, last=False, inputs=from_source(source)), store, pod(tmp_path, "1")
    ).execute()
    aged(store)
    changed = request(
        store, last=False, inputs=from_source(source), params={"calibratePerNode": True}
    )
    put_new, limit = store.put_new, datetime.now(UTC) - timedelta(days=1)
    olds: list[str] = []

    def put(key: str, data: bytes) -> bytes:
        olds.extend(old_objects(store, limit, jobs=False)[1])
        return put_new(key, data)

    store.put_new = put
    Runner(changed, store, pod(tmp_path, "2")).execute()
    assert step.runs == 2
    assert [key.split("/")[0] for key in olds] == ["manifests"]


def test_a_missing_blob_is_a_miss(step, store, source, tmp_path):
    asked = request(store, inputs=from_source(source))
    Runner(asked, store, pod(tmp_path, "1")).execute()
    for blob in (store.root / "blobs/sha256").iterdir():
        blob.unlink()
    again = Runner(asked, store, pod(tmp_path, "2")).execute()
    assert step.runs == 2
    assert not again.steps[0].cached
    assert Runner(asked, store, pod(tmp_path, "3")).execute().steps[0].cached


def test_a_broken_manifest_is_a_miss_and_is_replaced(step, store, source, tmp_path):
    asked = request(store, inputs=from_source(source))
    Runner(asked, store, pod(tmp_path, "1")).execute()
    (manifest,) = (store.root / "manifests/calibrate").iterdir()
    manifest.write_text("{")
    Runner(asked, store, pod(tmp_path, "2")).execute()
    assert Runner(asked, store, pod(tmp_path, "3")).execute().steps[0].cached
    assert step.runs == 2


def test_a_container_reads_what_an_earlier_one_of_its_pod_made(step, store, source, tmp_path):
    work = pod(tmp_path, "1")
    Runner(request(store, "one", inputs=from_source(source), last=False), store, work).execute()
    inputs = {"model": Input(step="one", output="model")}
    words = Runner(request(store, "two", inputs=inputs), store, work).execute()
    assert [s.name for s in words.steps] == ["one", "two"]
    assert (work / "steps/two/model").read_text() == "x!!"


def test_a_unit_reads_what_another_one_made_folders_too(step, store, source, tmp_path):
    first = request(store, inputs=from_source(source))
    words = Runner(first, store, pod(tmp_path, "1")).execute()
    assert words.manifest is not None
    for output, text in (("model", "x!!"), ("images", "folder!")):
        ref = Input(unit=words.manifest.sha256, container="calibrate", output=output)
        work = pod(tmp_path, output)
        Runner(request(store, inputs={"model": ref}), store, work).execute()
        assert (work / "steps/calibrate/model").read_text() == text


def test_a_units_manifest_can_be_an_input_itself(step, store, source, tmp_path):
    words = Runner(request(store, inputs=from_source(source)), store, pod(tmp_path, "1")).execute()
    work = pod(tmp_path, "2")
    Runner(
        request(store, inputs={"model": Input(unit=words.manifest.sha256)}), store, work
    ).execute()
    text = (work / "steps/calibrate/model").read_text().removesuffix("!")
    manifest = UnitManifest.model_validate_json(text)
    assert manifest.step("calibrate").outcome == {"images": 1, "tensors": 2}


def test_a_damaged_input_is_told_and_made_anew_next_time(step, store, source, tmp_path):
    asked = request(store, inputs=from_source(source))
    words = Runner(asked, store, pod(tmp_path, "1")).execute()
    unit = UnitManifest.model_validate_json(store.read(blob_key(words.manifest.sha256)))
    blob = unit.step("calibrate").outputs["model"]
    (store.root / blob_key(blob.sha256)).write_bytes(b"??")
    ref = Input(unit=words.manifest.sha256, container="calibrate", output="model")
    with pytest.raises(UserError, match=r"was damaged .* is discarded: start the job again"):
        Runner(request(store, "b", inputs={"model": ref}), store, pod(tmp_path, "2")).execute()
    Runner(asked, store, pod(tmp_path, "3")).execute()
    assert step.runs == 2
    Runner(request(store, "b", inputs={"model": ref}), store, pod(tmp_path, "4")).execute()


def test_outputs_and_inputs_are_published_under_stable_keys(step, store, source, tmp_path):
    publish = {"model": "jobs/default/demo/u/model.onnx"}
    asked = request(store, inputs=from_source(source), publish=publish)
    Runner(asked, store, pod(tmp_path, "1")).execute()
    assert store.read(publish["model"]) == b"x!"
    other = {"images": "jobs/default/demo/v/images.tar"}
    again = request(store, inputs=from_source(source), publish=other)
    Runner(again, store, pod(tmp_path, "2")).execute()
    assert step.runs == 1
    assert store.size(other["images"])


def test_probing_writes_nothing_to_the_store(step, store, source, tmp_path):
    asked = request(store, inputs=from_source(source))
    over = OverlayStore(store, tmp_path / "over")
    assert not Runner(asked, over, pod(tmp_path, "1")).probe()
    assert not store.root.exists()
    Runner(asked, store, pod(tmp_path, "2")).execute()
    before = sorted(store.root.rglob("*"))
    looked = Runner(asked, over, pod(tmp_path, "3"))
    assert looked.probe()
    assert looked.last_words().steps[0].cached
    assert sorted(store.root.rglob("*")) == before
    assert step.runs == 1


@pytest.mark.parametrize(
    ("error", "code", "family", "text"),
    [
        (UserError("spec.x: do y"), 64, "UserError", "spec.x: do y"),
        (TransientError("the store is away"), 75, "TransientError", "the store is away"),
        (RuntimeError("boom"), 70, "Bug", "RuntimeError: boom"),
        (UserError("ü" * 5000), 64, "UserError", None),
    ],
)
def test_exit_codes_and_last_words(
    step, store, source, tmp_path, monkeypatch, error, code, family, text
):
    step.error = error
    log = tmp_path / "termination"
    asked = request(store, inputs=from_source(source))
    monkeypatch.setenv("MPJ_REQUEST", asked.model_dump_json(exclude_none=True))
    monkeypatch.setenv("MPJ_WORK", str(pod(tmp_path, "1")))
    monkeypatch.setenv("MPJ_TERMINATION_LOG", str(log))
    assert entry.main(["calibrate"]) == code
    words = Termination.decode(log.read_text())
    assert len(log.read_bytes()) <= 2048
    assert words is not None
    assert words.error is not None
    assert words.error.family == family
    if text:
        assert words.error.message == text


def test_the_same_bug_has_the_same_trace(step, store, source, tmp_path, monkeypatch):
    step.error = RuntimeError("boom")
    asked = request(store, inputs=from_source(source))
    monkeypatch.setenv("MPJ_REQUEST", asked.model_dump_json(exclude_none=True))
    traces = set()
    for number in range(2):
        log = tmp_path / f"t{number}"
        monkeypatch.setenv("MPJ_TERMINATION_LOG", str(log))
        entry.main(["calibrate"])
        traces.add(Termination.decode(log.read_text()).error.trace)
    assert len(traces) == 1


def test_a_step_runs_alone_from_a_request_file(step, store, source, tmp_path, capsys):
    path = tmp_path / "request.json"
    path.write_text(request(store, inputs=from_source(source)).model_dump_json(exclude_none=True))
    assert entry.main(["calibrate", "--request", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["steps"][0]["outcome"] == {"images": 1, "tensors": 2}


@pytest.mark.parametrize(
    ("given", "seed"), [({}, "0"), ({"PYTHONHASHSEED": "5"}, "5")], ids=["none", "one"]
)
def test_a_person_gets_the_order_of_sets_that_pods_have(tmp_path, given, seed):
    (tmp_path / "sitecustomize.py").write_text(  # every interpreter runs it when it starts
        "import os, pathlib\n"
        f"with pathlib.Path({str(tmp_path / 'seen')!r}).open('a') as file:\n"
        "    file.write(os.environ.get('PYTHONHASHSEED', 'random') + '\\n')\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONHASHSEED"}
    environment |= {**given, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "mpj_runner", "export", "--request", str(tmp_path / "none")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, "No such file" in ran.stdout) == (64, True), ran.stderr
    assert (tmp_path / "seen").read_text().split()[-1] == seed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the request is not valid"),
        ('{"step": "ptq"}', "the request is not valid"),
    ],
)
def test_a_bad_request_is_the_users_error(tmp_path, monkeypatch, text, message):
    log = tmp_path / "t"
    monkeypatch.setenv("MPJ_REQUEST", text)
    monkeypatch.setenv("MPJ_TERMINATION_LOG", str(log))
    assert entry.main(["calibrate"]) == 64
    assert message in Termination.decode(log.read_text()).error.message
