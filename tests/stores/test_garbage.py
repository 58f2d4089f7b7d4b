"""Old artifacts: what is found, what stays, and that what stays suffices; in a folder and in S3."""

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mpj_runner.contract.errors import TransientError, UserError
from mpj_runner.contract.messages import Blob, StepManifest, UnitManifest, digest
from mpj_runner.stores.base import LEVELS, blob_key, manifest_key
from mpj_runner.stores.file import FileStore
from mpj_runner.stores.garbage import Old, collect, old_objects

NOW = datetime.now(UTC)
AGE = timedelta(days=30)
LIMIT = NOW - AGE


def keys_of(old: Old) -> set[str]:
    return {one.key for one in old.objects}


class Shop:
    """A file store whose objects are given their age."""

    def __init__(self, root: Path) -> None:
        self.store = FileStore(root / "store")
        self.scratch = root / "scratch"

    def put(self, key: str, data: bytes, days: float) -> str:
        self.scratch.write_bytes(data)
        self.store.put(key, self.scratch)
        moment = NOW.timestamp() - days * 86400
        os.utime(self.store.root / key, (moment, moment))
        return key

    def blob(self, text: str, days: float) -> Blob:
        data = text.encode()
        self.put(blob_key(digest(data)), data, days)
        return Blob(sha256=digest(data), size_bytes=len(data))

    def step(self, name: str, days: float, blob_days: float | None = None) -> StepManifest:
        """Put a result with one file."""
        blob = self.blob(f"file of {name}", days if blob_days is None else blob_days)
        manifest = StepManifest(
            name="calibrate", step="calibrate", key=digest(name.encode()), params={}, inputs={},
            outputs={"statistics": blob}, outcome={}, runner_version="1",
        )  # fmt: skip
        self.put(manifest_key("calibrate", manifest.key), manifest.model_dump_json().encode(), days)
        return manifest

    def unit(self, *steps: StepManifest, days: float) -> str:
        data = UnitManifest(steps=steps).model_dump_json(exclude_none=True)
        return self.blob(data, days).sha256

    def old(self, *, jobs: bool = False) -> set[str]:
        return keys_of(old_objects(self.store, LIMIT, jobs=jobs))


@pytest.fixture
def shop(tmp_path) -> Shop:
    return Shop(tmp_path)


def keys(manifest: StepManifest) -> set[str]:
    return {
        manifest_key(manifest.step, manifest.key),
        blob_key(manifest.outputs["statistics"].sha256),
    }


def test_old_results_go_and_young_ones_stay(shop):
    old, young = shop.step("old", 40), shop.step("young", 2)
    assert shop.old() == keys(old)
    assert not shop.old() & keys(young)


def test_an_old_file_of_a_young_result_stays(shop):
    shop.step("young", 2, blob_days=100)
    assert shop.old() == set()


def test_an_old_result_that_a_young_unit_took_from_the_cache_stays(shop):
    step = shop.step("old", 40)
    other = shop.step("unused", 40)
    shop.unit(step, days=1)
    assert shop.old() == keys(other)


def test_old_units_keep_nothing(shop):
    step = shop.step("old", 40)
    unit = shop.unit(step, days=40)
    assert shop.old() == {*keys(step), blob_key(unit)}


def test_young_bytes_stay_even_if_nothing_names_them_yet(shop):
    shop.step("old", 40)
    blob = shop.blob("a step is about to name it", 0.1)
    assert blob_key(blob.sha256) not in shop.old()


@pytest.mark.parametrize("jobs", [False, True])
def test_the_files_that_a_kept_report_links_to_stay(shop, jobs):
    engine, statistics = shop.step("engine", 40), shop.step("statistics", 40)
    sha256 = engine.outputs["statistics"].sha256
    report = {
        "best": {"artifacts": {"engine": {"sha256": sha256, "sizeBytes": 1}}},
        "provenance": [{"outputs": {"x": statistics.outputs["statistics"].sha256}}],
    }
    folder = "jobs/default/demo/u-1"
    report_key = shop.put(f"{folder}/report.json", json.dumps(report).encode(), 40)
    html = shop.put(f"{folder}/logs/x/report.html", b"<p>", 40)
    old = shop.old(jobs=jobs)
    assert (blob_key(sha256) in old) == jobs
    assert blob_key(statistics.outputs["statistics"].sha256) in old
    assert ({report_key, html} <= old) == jobs


def test_a_job_folder_with_anything_young_stays_whole(shop):
    shop.step("x", 1)
    shop.put("jobs/default/demo/u-1/report.json", b"{}", 40)
    shop.put("jobs/default/demo/u-1/report.html", b"", 1)
    assert shop.old(jobs=True) == set()


def test_an_unreadable_manifest_keeps_nothing_and_harms_nothing(shop):
    shop.put("manifests/eval/broken.json", b"{", 1)
    old = shop.step("old", 40)
    assert shop.old() == keys(old)


def test_what_is_no_store_is_told(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match=r"nothing at file://.*photos/blobs: name the folder that "
                       "has blobs/ and manifests/, which is spec.storage.uri with the job's "
                       "namespace"):  # fmt: skip
        old_objects(FileStore(tmp_path / "photos"), LIMIT, jobs=True)


def test_only_asked_is_anything_removed(shop):
    shop.step("old", 40)
    kept = keys(shop.step("young", 1))
    left = shop.store.root / "blobs/sha256/.part-x"
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 40 * 86400,) * 2)
    before = sorted(shop.store.root.rglob("*"))
    told = collect(shop.store, AGE, NOW)
    assert sorted(shop.store.root.rglob("*")) == before
    done = collect(shop.store, AGE, NOW, delete=True)
    assert (done.manifests, done.blobs, done.kept) == (told.manifests, told.blobs, told.kept)
    assert (done.manifests.objects, done.blobs.objects, done.unfinished) == (1, 1, 1)
    files = [p for p in shop.store.root.rglob("*") if p.is_file()]
    assert {p.relative_to(shop.store.root).as_posix() for p in files} == kept


@pytest.mark.parametrize("became", ["young", "named by a young unit", "linked by a report"])
def test_what_comes_into_use_while_all_is_read_stays(shop, monkeypatch, became):
    old, other = shop.step("old", 40), shop.step("unused", 40)
    shop.step("young", 1)
    sha256 = old.outputs["statistics"].sha256
    used = {
        "young": lambda: shop.step("old", 0, blob_days=40),
        "named by a young unit": lambda: shop.unit(old, days=0),
        "linked by a report": lambda: shop.put(
            "jobs/n/j/u/report.json", json.dumps({"sha256": sha256}).encode(), 40
        ),
    }
    read, reads = shop.store.read, []

    def slow(key: str) -> bytes | None:
        reads.append(key)
        if len(reads) == 1:
            used[became]()
        return read(key)

    monkeypatch.setattr(shop.store, "read", slow)
    collect(shop.store, AGE, NOW, delete=True)
    assert shop.store.size(blob_key(sha256)) is not None
    assert shop.store.size(blob_key(other.outputs["statistics"].sha256)) is None
    assert len(reads) == len(set(reads)), "the second look reads only what is new"


def test_what_comes_into_use_while_all_is_removed_stays(shop, monkeypatch):
    """A job takes a result into use: it makes its manifest young, or puts its bytes again."""
    touched, again, unused = (shop.step(name, 40) for name in ("touched", "again", "unused"))
    shop.put("jobs/n/j/u/report.json", b"{}", 40)
    remove, calls = shop.store.remove, []

    def slow(keys, before):
        calls.append(keys)
        if len(calls) == 1:
            shop.step("touched", 0, blob_days=40)
        if len(calls) == 2:
            shop.step("again", 0)
        return remove(keys, before)

    monkeypatch.setattr(shop.store, "remove", slow)
    done = collect(shop.store, AGE, NOW, jobs=True, delete=True)
    left = {one.key for level in LEVELS for one in shop.store.objects(level)}
    assert left == keys(touched) | keys(again)
    assert not left & keys(unused)
    assert (done.manifests.objects, done.blobs.objects, done.kept.objects) == (2, 1, 3)
    assert (done.jobs.objects, done.folders) == (1, ("jobs/n/j/u",))


def test_a_manifest_that_was_put_back_keeps_its_files(shop, monkeypatch):
    """A job read it right before it was removed, and made it young right after."""
    step = shop.step("old", 40)
    remove = shop.store.remove

    def late(keys, before):
        gone = remove(keys, before)
        if manifest_key(step.step, step.key) in gone:
            shop.step("old", 0, blob_days=40)
        return gone

    monkeypatch.setattr(shop.store, "remove", late)
    collect(shop.store, AGE, NOW, delete=True)
    assert {one.key for level in LEVELS for one in shop.store.objects(level)} == keys(step)


@pytest.mark.parametrize("family", [UserError, TransientError])
def test_what_was_removed_is_told_even_if_unfinished_writes_stay(shop, monkeypatch, family):
    shop.step("old", 40)

    def denied(_: timedelta) -> int:
        raise family("no right to list uploads")

    monkeypatch.setattr(shop.store, "remove_unfinished", denied)
    done = collect(shop.store, AGE, NOW, delete=True)
    assert (done.manifests.objects, done.blobs.objects) == (1, 1)
    assert (done.unfinished, done.warning) == (0, "no right to list uploads")


def test_a_bucket_is_collected_like_a_folder(store, shop, server, bucket, tmp_path):
    """S3 sets an object's age itself, so here all is as old as the last second."""
    manifest = shop.step("x", 0)
    unit = shop.unit(manifest, days=0)
    for one in (*shop.store.objects("blobs/"), *shop.store.objects("manifests/")):
        store.put(one.key, shop.store.root / one.key)
    server.client().create_multipart_upload(Bucket=bucket, Key="some/prefix/blobs/half")
    later = datetime.now(UTC) + timedelta(hours=1)
    assert keys_of(old_objects(store, LIMIT, jobs=True)) == set()
    assert keys_of(old_objects(store, later, jobs=True)) == {*keys(manifest), blob_key(unit)}
    done = collect(store, timedelta(seconds=60), later, jobs=True, delete=True)
    assert (done.manifests.objects, done.blobs.objects) == (1, 2)
    assert server.objects(bucket) == {}
    shutil.rmtree(shop.store.root)
