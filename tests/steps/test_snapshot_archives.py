"""What comes from outside is checked before it is written."""

import io
import tarfile
import zipfile

import pytest
from snapshots import (
    coco_world,
    packed,
    picture,
    write,
)

from mpj_runner.contract.errors import UserError


class TestArchives:
    """What comes from outside is checked before it is written."""

    def tar(self, source, *members):
        with tarfile.open(source, "w") as archive:
            for info, data in members:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return source

    def test_missing_source(self, snapshot, source):
        with pytest.raises(UserError, match=r"spec\.validation\.uri does not exist"):
            snapshot(source)

    def test_no_archive_at_all(self, snapshot, source):
        source.write_bytes(b"just text" * 100)
        with pytest.raises(UserError, match="neither a folder nor a whole tar or zip file"):
            snapshot(source)

    @pytest.mark.parametrize("how", ["tar.gz", "zip"])
    def test_half_an_archive(self, snapshot, source, how):
        path = packed(write(source, coco_world()), how, wrapped=False)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match="neither a folder nor a whole tar or zip file"):
            snapshot(path)

    def test_damaged_bytes(self, snapshot, source):
        path = packed(write(source, {"a.png": picture() * 50}), "zip", wrapped=False)
        data = bytearray(path.read_bytes())
        data[200] ^= 0xFF
        path.write_bytes(bytes(data))
        with pytest.raises(UserError, match="Bad CRC"):
            snapshot(path)

    @pytest.mark.parametrize(
        "name", ["../evil.png", "/evil.png", "a/../../evil.png", "C:\\evil.png"]
    )
    def test_entries_that_lead_outside(self, snapshot, source, tmp_path, name):
        with pytest.raises(UserError, match="leads outside"):
            snapshot(self.tar(source, (tarfile.TarInfo(name), picture())))
        zipped = tmp_path / "source.zip"
        with zipfile.ZipFile(zipped, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), picture())
        with pytest.raises(UserError, match="leads outside"):
            snapshot(zipped)
        assert not list(tmp_path.rglob("evil*"))

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    def test_links_and_devices_in_a_tar(self, snapshot, source, kind):
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        with pytest.raises(UserError, match="link or a device"):
            snapshot(self.tar(source, (info, b"")))

    def test_links_in_a_zip(self, snapshot, source):
        info = zipfile.ZipInfo("a.png")
        info.external_attr = 0o120777 << 16
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr(info, "/etc/passwd")
        with pytest.raises(UserError, match="link or a device"):
            snapshot(source)

    def test_a_bomb(self, snapshot, source, monkeypatch):
        monkeypatch.setattr("mpj_runner.vision.archive.FREE_BYTES", 1000)
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", bytes(3_000_000))
        with pytest.raises(UserError, match="more than 200 times its size"):
            snapshot(source)
        assert not list(source.parent.rglob("unpacked"))
