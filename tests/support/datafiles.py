"""Files to put into stores."""

import hashlib
from pathlib import Path

MIB = 2**20


def file(tmp_path: Path, data: bytes) -> Path:
    """Write the one file of a test's folder."""
    path = tmp_path / "data"
    path.write_bytes(data)
    return path


def noise(size: int) -> bytes:
    """Return bytes that differ from part to part."""
    block = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(4096))
    return b"".join(bytes([n]) + block for n in range(size // len(block) + 1))[:size]
