"""Claims as sources and stores, and a folder that keeps blobs between pods."""

from pathlib import Path

import pytest

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.messages import Input, Request
from mpj_runner.stores import folders
from mpj_runner.stores.base import blob_key, file_digest
from mpj_runner.stores.cached import CachedStore
from mpj_runner.stores.file import FileStore
from mpj_runner.stores.folders import Fence, copied
from mpj_runner.stores.open import Places


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    path = tmp_path / "claim"
    (path / "sets/a").mkdir(parents=True)
    (path / "sets/a/1.jpg").write_text("1")
    (path / "empty").touch()
    return path


@pytest.fixture
def places(claim: Path) -> Places:
    return Places(claims={"data": claim})


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("pvc://data/sets/a/1.jpg", "sets/a/1.jpg"),
        ("pvc://data/sets/a/", "sets/a"),
        ("pvc://data", "."),
        ("pvc://data//sets", "sets"),
    ],
)
def test_a_source_is_read_where_its_claim_is_mounted(places, claim, tmp_path, uri, path):
    assert places.source(uri, "spec.model.uri").here(tmp_path) == claim / path


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("pvc://data/none", "spec.model.uri: pvc://data/none does not exist"),
        ("pvc://data/empty", "spec.model.uri: pvc://data/empty is empty"),
        ("pvc://data/sets/../../x", "spec.model.uri: pvc://data/sets/../../x: must not hold .."),
        ("pvc://other/x", "spec.model.uri: pvc://other/x: no claim other is mounted here"),
    ],
)
def test_what_is_wrong_with_a_claim_is_told(places, uri, words):
    with pytest.raises(UserError) as told:
        places.source(uri, "spec.model.uri")
    assert str(told.value) == words


@pytest.mark.parametrize(
    ("link", "target", "uri", "shown"),
    [
        pytest.param("x", "/proc/self/environ", "pvc://data/x", "x", id="the source"),
        pytest.param("x", "/proc/self", "pvc://data/x/environ", "x/environ", id="its folder"),
        pytest.param("sets/x", "/proc/self/environ", "pvc://data/sets", "sets/x", id="a file"),
        pytest.param("sets/x", "/proc/self", "pvc://data/sets", "sets/x", id="a folder below"),
        pytest.param("sets/x", "../../claim2/f", "pvc://data", "sets/x", id="a like-named claim"),
        pytest.param("sets/x", "/nowhere", "pvc://data/sets", "sets/x", id="nothing"),
    ],
)
def test_a_link_out_of_a_claim_is_refused(places, claim, link, target, uri, shown):
    """It would bring the secrets of the container that fetches to the code of the model."""
    (claim / link).symlink_to(target)
    words = rf"^spec\.model\.uri: {shown} is a link out of the claim: put the file itself there$"
    with pytest.raises(UserError, match=words):
        assert places.source(uri, "spec.model.uri").sha256


def test_what_is_copied_from_a_claim_is_looked_at_when_it_is_open(claim, tmp_path, monkeypatch):
    """A link may have taken a file's place after the listing."""
    (claim / "sets/a/2").symlink_to("/proc/self/environ")
    files = [claim / "sets/a/1.jpg", claim / "sets/a/2"]
    monkeypatch.setattr(folders, "files_of", lambda *_: files)
    with pytest.raises(UserError, match=r"spec\.x: sets/a/2 is a link out of the claim"):
        copied(claim / "sets/a", tmp_path / "copy", Fence(claim, "spec.x"))
    assert (tmp_path / "copy/2").read_bytes() == b""


def test_links_inside_a_claim_are_followed(places, claim, tmp_path):
    (claim / "model.pt").symlink_to("sets/a/1.jpg")
    (claim / "linked").mkdir()
    (claim / "linked/a").symlink_to("../sets/a")
    assert places.source("pvc://data/model.pt", "f").sha256 == file_digest(claim / "sets/a/1.jpg")
    source = places.source("pvc://data/linked", "f")
    copy = copied(source.here(tmp_path), tmp_path / "copy", Fence(claim, "f"))
    assert (copy / "a/1.jpg").read_text() == "1"
    assert source.sha256 == places.source("pvc://data/sets", "f").sha256


def test_a_store_on_a_claim_names_objects_by_it(places, claim):
    store = places.store("pvc://data/artifacts/ns")
    assert store.put_new("manifests/x/1.json", b"{}") == b"{}"
    assert (claim / "artifacts/ns/manifests/x/1.json").read_bytes() == b"{}"
    assert store.uri("blobs/1") == "pvc://data/artifacts/ns/blobs/1"
    (claim / "artifacts/ns/blobs").touch()
    with pytest.raises(UserError, match="the store pvc://data/artifacts/ns can't be used"):
        store.put_new("blobs/sha256/1", b"")


def test_a_request_lists_its_claims():
    inputs = {
        "source": Input(source="pvc://images/a"),
        "annotations": Input(source="pvc://store/labels.json"),
        "model": Input(source="s3://b/m"),
    }
    asked = Request(
        step="snapshot", name="s", params={}, inputs=inputs, store="pvc://store/artifacts"
    )
    assert asked.claims == {"images": False, "store": True}
    assert asked.model_copy(update={"store": "s3://b"}).claims == {"images": False, "store": False}


def blob(path: Path, text: str) -> str:
    path.write_text(text)
    return file_digest(path)


def test_a_blob_comes_from_the_cache_the_second_time(tmp_path):
    sha256 = blob(tmp_path / "a", "bytes")
    far = FileStore(tmp_path / "store")
    far.put(blob_key(sha256), tmp_path / "a")
    store = CachedStore(far, tmp_path / "cache")
    assert store.fetch(blob_key(sha256), tmp_path / "b")
    (tmp_path / "store" / blob_key(sha256)).unlink()
    assert store.fetch(blob_key(sha256), tmp_path / "c")
    assert (tmp_path / "c").read_text() == "bytes"
    assert store.size(blob_key(sha256)) is None, "whether it exists is asked of the store"


def test_what_is_put_is_near_at_once_manifests_never(tmp_path):
    store = CachedStore(FileStore(tmp_path / "store"), tmp_path / "cache")
    sha256 = blob(tmp_path / "a", "bytes")
    store.put(blob_key(sha256), tmp_path / "a", sha256)
    store.put("jobs/x/report.json", tmp_path / "a", sha256)
    store.put_new("manifests/x/1.json", b"{}")
    assert store.read("manifests/x/1.json") == b"{}"
    kept = [p.relative_to(tmp_path / "cache") for p in (tmp_path / "cache").rglob("*")]
    assert [str(p) for p in kept if p.name == sha256] == [blob_key(sha256)]
    assert len([p for p in kept if (tmp_path / "cache" / p).is_file()]) == 1


@pytest.mark.parametrize("damage", ["other", "bytes, and more", ""])
def test_a_damaged_cache_is_passed_over_and_mended(tmp_path, damage):
    sha256 = blob(tmp_path / "a", "bytes")
    store = CachedStore(FileStore(tmp_path / "store"), tmp_path / "cache")
    store.put(blob_key(sha256), tmp_path / "a", sha256)
    (tmp_path / "cache" / blob_key(sha256)).write_text(damage)
    assert store.fetch(blob_key(sha256), tmp_path / "b")
    assert (tmp_path / "b").read_text() == "bytes"
    assert (tmp_path / "cache" / blob_key(sha256)).read_text() == "bytes"


def test_a_cache_that_cannot_be_used_costs_a_warning(tmp_path, caplog):
    (tmp_path / "cache").touch()
    store = CachedStore(FileStore(tmp_path / "store"), tmp_path / "cache")
    sha256 = blob(tmp_path / "a", "bytes")
    store.put(blob_key(sha256), tmp_path / "a", sha256)
    assert store.fetch(blob_key(sha256), tmp_path / "b")
    assert (tmp_path / "b").read_text() == "bytes"
    assert "the cache can't be" in caplog.text
