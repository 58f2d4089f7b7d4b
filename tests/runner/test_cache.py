"""Results from the cache: what is in their key, when they are there, and that they stay."""

import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from counted import from_source, pod, request

from mpj_runner.runner import Runner
from mpj_runner.stores.file import FileStore
from mpj_runner.stores.garbage import collect, old_objects
from mpj_runner.stores.overlay import OverlayStore


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
    collect(store, timedelta(days=1), datetime.now(UTC), delete=True)
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
        olds.extend(one.key for one in old_objects(store, limit, jobs=False).objects)
        return put_new(key, data)

    store.put_new = put
    Runner(changed, store, pod(tmp_path, "2")).execute()
    assert step.runs == 2
    assert [key.split("/")[0] for key in olds] == ["manifests"]
