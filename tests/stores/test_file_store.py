"""A folder as a store: whole or nothing, first writer wins, and errors that say what to do."""

import errno
import os
import shutil
import subprocess
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from datafiles import file

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.messages import Blob
from mpj_runner.stores.base import blob_key, holds
from mpj_runner.stores.file import FileStore
from mpj_runner.stores.folders import files_of, pack, source_digest, unpack
from mpj_runner.stores.open import Places


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def test_what_is_put_is_fetched(store, tmp_path):
    uri = store.put("a/b", file(tmp_path, b"data"))
    assert uri == (tmp_path / "store/a/b").as_uri()
    assert store.fetch("a/b", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"data"
    assert (store.read("a/b"), store.size("a/b")) == (b"data", 4)


def test_what_is_not_there_is_none(store, tmp_path):
    assert store.read("a") is None
    assert store.size("a") is None
    assert not store.fetch("a", tmp_path / "copy")


def test_of_many_writers_one_wins_and_all_get_its_bytes(store):
    with ThreadPoolExecutor(8) as pool:
        got = set(pool.map(lambda n: store.put_new("m/k", b"%d" % n), range(64)))
    assert len(got) == 1
    assert store.read("m/k") in got


def test_no_part_of_a_file_is_left(store, tmp_path):
    store.put_new("m/k", b"1")
    store.put_new("m/k", b"2")
    store.put("m/k2", file(tmp_path, b"3"))
    assert sorted(p.name for p in (tmp_path / "store/m").iterdir()) == ["k", "k2"]


@pytest.mark.parametrize("key", ["../x", "a/../b", "a//b", "/a", ""])
def test_keys_do_not_leave_the_store(store, key):
    with pytest.raises(ValueError, match="not a store key"):
        store.read(key)


def test_a_blob_of_another_size_is_a_miss(store, tmp_path):
    blob = Blob(sha256="0" * 64, size_bytes=5)
    store.put(blob_key(blob.sha256), file(tmp_path, b"1234"))
    assert not holds(store, blob)
    store.put(blob_key(blob.sha256), file(tmp_path, b"12345"))
    assert holds(store, blob)


def test_a_full_store_says_so_and_keeps_what_it_has(tmp_path):
    """A real file system of 64 KiB."""
    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", root], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    try:
        store = FileStore(root)
        store.put_new("m/k", b"kept")
        with pytest.raises(UserError, match=r"is full .*free some space or set spec.storage.uri"):
            store.put("big", file(tmp_path, bytes(200_000)))
        assert store.read("m/k") == b"kept"
        assert store.read("big") is None
        assert not list(root.glob(".part-*"))
    finally:
        subprocess.run(["umount", root], check=True)


def test_a_full_or_closed_work_disk_is_not_the_stores(store, tmp_path):
    store.put("a/b", file(tmp_path, b"data"))
    with pytest.raises(OSError, match="No space left") as told:
        store.fetch("a/b", Path("/dev/full"))
    assert told.value.errno == errno.ENOSPC
    with pytest.raises(NotADirectoryError):
        store.fetch("a/b", tmp_path / "data/x")
    with pytest.raises(FileNotFoundError):
        store.fetch("a/b", tmp_path / "no/x")
    with pytest.raises(NotADirectoryError):
        store.put("a/b", tmp_path / "data/x")


def test_a_store_below_a_file_cannot_be_written(tmp_path):
    path = file(tmp_path, b"")
    with pytest.raises(UserError, match=r"can't be used .*spec.storage.uri .*--store"):
        FileStore(path / "store").put("a", path)


def test_other_schemes_are_not_read():
    words = r"spec\.storage\.uri: gs://b/k: this runner reads file:// and s3:// only"
    with pytest.raises(UserError, match=words):
        Places().store("gs://b/k")


def test_sources_must_exist_and_hold_something(tmp_path):
    with pytest.raises(UserError, match=r"spec\.model\.uri: .*gone\.pt does not exist"):
        Places().source((tmp_path / "gone.pt").as_uri(), "spec.model.uri")
    empty = tmp_path / "empty file.pt"
    empty.touch()
    with pytest.raises(UserError, match=r"spec\.model\.uri: .*empty file\.pt is empty"):
        Places().source(empty.as_uri(), "spec.model.uri")


def tree(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def test_a_folder_packs_to_the_same_bytes_wherever_it_lies(tmp_path):
    files = {"b/c.txt": b"c", "a.txt": b"a"}
    one, two = tree(tmp_path / "1", files), tree(tmp_path / "2", dict(reversed(files.items())))
    pack(one, tmp_path / "1.tar")
    pack(two, tmp_path / "2.tar")
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    unpack(tmp_path / "1.tar", tmp_path / "out")
    assert {
        p.relative_to(tmp_path / "out").as_posix(): p.read_bytes()
        for p in (tmp_path / "out").rglob("*.txt")
    } == files


def entry(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, "/etc/passwd"
    return made


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(entry("../out"), id="above"),
        pytest.param(entry("/out"), id="absolute"),
        pytest.param(entry("a/../../out"), id="through a folder"),
        pytest.param(entry("out", tarfile.SYMTYPE), id="a link"),
        pytest.param(entry("out", tarfile.LNKTYPE), id="a hard link"),
        pytest.param(entry("out", tarfile.FIFOTYPE), id="a pipe"),
        pytest.param(entry("out", tarfile.DIRTYPE), id="a folder, which pack never writes"),
    ],
)
def test_what_was_not_packed_by_us_is_not_unpacked(tmp_path, bad):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(entry("fine"))
        tar.addfile(bad)
    with pytest.raises(UserError, match="is no plain file below its folder: do not trust what"):
        unpack(tmp_path / "x.tar", tmp_path / "in/engine")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["x.tar", "fine"]


def test_a_folders_digest_is_its_names_and_bytes(tmp_path):
    one = tree(tmp_path / "1", {"a": b"1"})
    assert source_digest(one) == source_digest(tree(tmp_path / "2", {"a": b"1"}))
    assert source_digest(one) != source_digest(tree(tmp_path / "3", {"b": b"1"}))
    assert source_digest(one) != source_digest(tree(tmp_path / "4", {"a": b"2"}))


def test_linked_folders_are_part_of_the_digest(tmp_path):
    """Data sets are read through links, so what is behind them must be in the cache's key."""
    far = tree(tmp_path / "far", {"1.jpg": b"1"})
    one = tree(tmp_path / "one", {"images/own.jpg": b"0"})
    (one / "images/train").symlink_to(far)
    plain = tree(tmp_path / "two", {"images/own.jpg": b"0", "images/train/1.jpg": b"1"})
    before = source_digest(one)
    assert before == source_digest(plain)
    (far / "1.jpg").write_bytes(b"2")
    assert source_digest(one) != before


def test_links_that_go_round_end(tmp_path):
    one = tree(tmp_path / "one", {"a/1": b"1", "b/2": b"2"})
    (one / "up").symlink_to(one)
    (one / "a/b").symlink_to(one / "b")
    (one / "b/a").symlink_to(one / "a")
    (one / "self").symlink_to("self")
    found = [path.relative_to(one).as_posix() for path in files_of(one)]
    assert found == ["a/1", "a/b/2", "b/2", "b/a/1"]


def test_what_python_compiles_changes_no_digest(tmp_path):
    one = tree(tmp_path / "one", {"detector.py": b"1"})
    before = source_digest(one)
    tree(one, {"__pycache__/detector.pyc": b"2"})
    assert source_digest(one) == before


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_claim_without_hard_links_has_first_writers_too(tmp_path, monkeypatch, number):
    def link(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    store = FileStore(tmp_path / "store")
    assert store.put_new("m/k", b"one") == b"one"
    assert store.put_new("m/k", b"two") == b"one"
    assert [path.name for path in (tmp_path / "store/m").iterdir()] == ["k"]


def test_removal_leaves_the_folders_that_writers_use(tmp_path):
    store = FileStore(tmp_path / "store")
    keys = ["blobs/sha256/1", "manifests/eval/1", "jobs/n/j/u/logs/1", "jobs/n/j2/u/1"]
    for key in keys:
        store.put(key, file(tmp_path, b""))
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert store.remove([*keys[:3], "jobs/n/none"], later) == set(keys[:3])
    left = {p.relative_to(store.root).as_posix() for p in store.root.rglob("*") if p.is_dir()}
    assert left == {
        "blobs", "blobs/sha256", "manifests", "manifests/eval", "jobs", "jobs/n", "jobs/n/j2",
        "jobs/n/j2/u",
    }  # fmt: skip


def test_a_folder_that_a_collection_took_away_is_made_again(tmp_path, monkeypatch):
    store = FileStore(tmp_path / "store")
    makes = tempfile.mkstemp

    def late(**where: object) -> object:
        monkeypatch.setattr(tempfile, "mkstemp", makes)
        Path(str(where["dir"])).rmdir()
        return makes(**where)

    monkeypatch.setattr(tempfile, "mkstemp", late)
    store.put("jobs/n/j/u/1", file(tmp_path, b"1"))
    assert store.read("jobs/n/j/u/1") == b"1"


def test_what_vanishes_during_a_listing_is_left_out(tmp_path):
    store = FileStore(tmp_path / "store")
    for key in ("jobs/a/1", "jobs/a/2", "jobs/b/1"):
        store.put(key, file(tmp_path, b""))
    found = store.objects("jobs/")
    assert next(found).key == "jobs/a/1"
    shutil.rmtree(store.root / "jobs")
    assert list(found) == []


def test_unfinished_writes_of_others_stay(tmp_path):
    store = FileStore(tmp_path)
    for name in ("blobs/sha256/.part-1", "manifests/eval/.part-2", "others/.part-3", ".part-4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert store.remove_unfinished(timedelta(seconds=-5)) == 2
    assert (tmp_path / "others/.part-3").exists()
    assert (tmp_path / ".part-4").exists()
