"""What goes from container to container and from unit to unit, and what people get."""

import pytest
from counted import from_source, pod, request

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.messages import Input, UnitManifest
from mpj_runner.runner import Runner
from mpj_runner.stores.base import blob_key


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
