"""Deterministic names: creating a child twice must be a conflict with itself."""

import hashlib
import re
from typing import Final

LABEL_JOB: Final = "mixedprecision.dev/job"
LABEL_UNIT: Final = "mixedprecision.dev/unit"
LABEL_ATTEMPT: Final = "mixedprecision.dev/attempt"


def child(job: str, uid: str, unit: str, attempt: int) -> str:
    """Return the name of a unit's batch/v1 Job, at most 60 characters.

    Cut job name, cut unit name, and 8 hexadecimal digits of sha256(uid, unit, attempt).
    """
    tail = hashlib.sha256(f"{uid}\n{unit}\n{attempt}".encode()).hexdigest()[:8]
    return f"{_cut(job, 30)}-{_cut(unit, 20)}-{tail}"


def label(text: str) -> str:
    """Return text as a label value, at most 63 characters; longer names keep a digest."""
    if len(text) <= 63:
        return text
    return f"{_cut(text, 54)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _cut(text: str, length: int) -> str:
    return re.sub(r"[^a-z0-9-]", "-", text[:length]).strip("-")
