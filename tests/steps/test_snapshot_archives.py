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
from mpj_runner.stores.base import file_digest


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def digests(frozen):
    """Return the digests of a frozen set's images by name."""
    images = frozen[1]
    return {path.name: file_digest(path) for path in images.rglob("*") if path.is_file()}


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

    @pytest.mark.parametrize(
        "target", ["/etc/passwd", "../data.tar", "later.png", "folder", "a.png", ""]
    )
    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    def test_links_and_devices_in_a_tar(self, snapshot, source, kind, target):
        inside = (tarfile.TarInfo("folder/b.png"), picture())
        later = (tarfile.TarInfo("later.png"), picture())
        with pytest.raises(UserError, match=r"entry 'a\.png' of the archive is a link or a device: "
                           r".*\(tar --dereference --hard-dereference\)"):  # fmt: skip
            snapshot(self.tar(source, inside, (link("a.png", target, kind), b""), later))

    def test_no_symbolic_link_to_an_entry(self, snapshot, source):
        inside = (tarfile.TarInfo("b.png"), picture())
        symbolic = link("a.png", "b.png", tarfile.SYMTYPE)
        with pytest.raises(UserError, match="link or a device"):
            snapshot(self.tar(source, inside, (symbolic, b"")))

    @pytest.mark.parametrize("how", ["w", "w:gz"])
    def test_hard_links_of_a_tar_are_files(self, snapshot, tmp_path, how):
        """What tar makes of two names of one file."""
        folder = write(tmp_path / "set", coco_world())
        plain = snapshot(packed(folder, "tar", wrapped=False))
        for name in ("1.png", "2.png"):
            (folder / "val" / name).unlink()
            (folder / "val" / name).hardlink_to(folder / "val/0.png")
        with tarfile.open(tmp_path / "linked", how) as archive:
            archive.add(folder, ".")
            assert sum(member.islnk() for member in archive.getmembers()) == 2
        linked = snapshot(tmp_path / "linked")
        copies = {n: picture(0) for n in ("val/1.png", "val/2.png")}
        same = snapshot(
            packed(write(tmp_path / "same", coco_world(**copies)), "tar", wrapped=False)
        )
        assert digests(linked) == digests(same) != digests(plain)

    def test_hard_links_count_as_bytes(self, snapshot, source, monkeypatch):
        monkeypatch.setattr("mpj_runner.vision.archive.FREE_BYTES", 1000)
        monkeypatch.setattr("mpj_runner.vision.archive.MAX_RATIO", 2)
        links = [(link(f"{number}.png", "a.png", tarfile.LNKTYPE), b"") for number in range(99)]
        with pytest.raises(UserError, match="more than 2 times its size"):
            snapshot(self.tar(source, (tarfile.TarInfo("a.png"), bytes(100_000)), *links))

    def test_a_tar_that_ends_with_a_zip_is_a_tar(self, snapshot, tmp_path):
        zipped = io.BytesIO()
        with zipfile.ZipFile(zipped, "w") as archive:
            archive.writestr("other.txt", "of the inner archive")
        folder = write(tmp_path / "set", coco_world())
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            tar.add(folder, ".")
            info = tarfile.TarInfo("z.zip")
            info.size = len(zipped.getvalue())
            tar.addfile(info, io.BytesIO(zipped.getvalue()))
        assert zipfile.is_zipfile(tmp_path / "x.tar")
        assert snapshot(tmp_path / "x.tar")

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
