"""A pod's copies of blobs: brought from the store and verified, put into it and kept."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.messages import Blob
from mpj_runner.pod import Pod
from mpj_runner.stores.base import Store, blob_key, file_digest
from mpj_runner.stores.folders import pack, unpack


@dataclass(frozen=True)
class Blobs:
    """Blobs of a store as files that the containers of a pod share."""

    store: Store
    pod: Pod

    def local(self, blob: Blob) -> Path:
        """Return a verified copy of a blob's bytes in the pod's folder.

        Raises:
            UserError: the store lost or damaged it.
        """
        path = self.pod.kept(blob.sha256)
        if path.exists():
            return path
        temporary = path.with_name(f"{path.name}.part")
        key = blob_key(blob.sha256)
        if not self.store.fetch(key, temporary):
            raise UserError(
                f"{self.store.uri(key)} is gone from the store: "
                "start the job again, and it is made anew"
            )
        if file_digest(temporary) != blob.sha256:
            self.store.put(key, self.file(b""))  # too short: a miss from now on
            raise UserError(
                f"{self.store.uri(key)} was damaged (its sha256 differed from "
                "its name) and is discarded: start the job again, and it is made anew"
            )
        temporary.rename(path)
        return path

    def here(self, blob: Blob) -> Path:
        """Return the file or the folder that a blob is."""
        path = self.local(blob)
        if not blob.folder:
            return path
        folder = path.with_name(f"{path.name}.d")
        if not folder.exists():
            temporary = path.with_name(f"{path.name}.part")
            shutil.rmtree(temporary, ignore_errors=True)
            unpack(path, temporary)
            temporary.rename(folder)
        return folder

    def put(self, path: Path) -> Blob:
        """Put a file or folder into the store and keep a copy.

        What is there already is written again: an old object may be about to be collected, and one
        that was written just now is not.
        """
        folder = path.is_dir()
        if folder:
            packed = self.pod.folder("packed") / path.name
            pack(path, packed)
            path = packed
        sha256 = file_digest(path)
        blob = Blob(sha256=sha256, size_bytes=path.stat().st_size, folder=folder)
        self.store.put(blob_key(sha256), path, sha256)
        kept = self.pod.kept(sha256)
        if not kept.exists():
            temporary = kept.with_name(f"{kept.name}.part")
            shutil.copyfile(path, temporary)
            temporary.rename(kept)
        return blob

    def file(self, data: bytes) -> Path:
        """Return a file with these bytes, until the next call."""
        path = self.pod.folder("packed") / "data"
        path.write_bytes(data)
        return path
