"""Files that are brought at the end of mpj run: whole or not at all, and plain words if not."""

import io
import sys
from pathlib import Path

import pytest
from datafiles import file

from mpj_runner import errand
from mpj_runner.contract.errands import Errand, Fetch
from mpj_runner.contract.errors import EXIT_USER
from mpj_runner.stores.base import blob_key, file_digest
from mpj_runner.stores.file import FileStore
from mpj_runner.stores.folders import pack


@pytest.fixture
def bring(tmp_path, monkeypatch, capsys):
    """Return a function that brings one blob to a path, and returns exit code and words."""

    def run(to: Path, *, folder: bool = False) -> tuple[int, str]:
        data = file(tmp_path, b"data")
        if folder:
            (tmp_path / "folder").mkdir(exist_ok=True)
            (tmp_path / "folder/x").write_bytes(b"data")
            pack(tmp_path / "folder", data)
        store, sha256 = tmp_path / "store", file_digest(data)
        FileStore(store).put(blob_key(sha256), data)
        one = {str(to): sha256}
        fetch = Fetch(blobs={}, folders=one) if folder else Fetch(blobs=one)
        asked = Errand(store=store.as_uri(), fetch=fetch).model_dump_json()
        monkeypatch.setattr(sys, "stdin", io.StringIO(asked))
        return errand.main(), capsys.readouterr().err

    return run


def test_files_and_folders_are_brought(bring, tmp_path):
    assert bring(tmp_path / "copy") == (0, "")
    assert (tmp_path / "copy").read_bytes() == b"data"
    assert bring(tmp_path / "engine", folder=True) == (0, "")
    assert (tmp_path / "engine/x").read_bytes() == b"data"


@pytest.mark.parametrize("folder", [False, True])
def test_a_full_out_folder_ends_in_plain_words(bring, tmp_path, folder):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".engine.part").symlink_to("/dev/full")
    assert bring(out / "engine", folder=folder) == (
        EXIT_USER,
        f"no space is left for {out}: free some on that disk, or set --out to another one\n",
    )
    assert list(out.iterdir()) == []


def test_half_a_folder_is_not_left(bring, tmp_path, monkeypatch):
    def unpack(_: Path, to: Path) -> None:
        to.mkdir()
        (to / "half").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(errand, "unpack", unpack)
    out = tmp_path / "out"
    out.mkdir()
    assert bring(out / "engine", folder=True)[0] == EXIT_USER
    assert list(out.iterdir()) == []


def test_an_out_folder_that_cannot_be_written_is_named(bring, tmp_path):
    (tmp_path / "out").touch()
    code, told = bring(tmp_path / "out/engine")
    assert code == EXIT_USER
    assert told == (
        f"{tmp_path}/out/.engine.part can't be used (Not a directory): see that this user may "
        "write there, or set --out to another folder\n"
    )
