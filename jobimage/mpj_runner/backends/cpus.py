"""How many processors this process may use, and whether the kernel held it back."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Throttling:
    """Counters of a CPU quota: scheduling periods so far, and those cut short by it."""

    periods: int = 0
    throttled: int = 0

    def since(self, earlier: "Throttling") -> "Throttling":
        """Return the growth since an earlier reading."""
        return Throttling(self.periods - earlier.periods, self.throttled - earlier.throttled)


def cpu_limit(root: Path = Path("/")) -> float:
    """Return the processors' worth of time that this process may use.

    The smallest of its affinity mask and the quotas of its control group and that group's parents
    (cgroup v2 ``cpu.max``, v1 ``cpu.cfs_quota_us``).

    Args:
        root: where /proc and /sys are found; tests pass a folder.
    """
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return min(float(_affinity()), *quotas) if quotas else float(_affinity())


def default_threads() -> int:
    """Return the whole processors of the limit, at least one: more would only be throttled."""
    return max(1, int(cpu_limit()))


def throttling(root: Path = Path("/")) -> Throttling:
    """Return the counters of the most throttled control group that holds this process."""
    readings = [_throttling(folder) for folder in _groups(root)]
    return max(readings, key=lambda x: x.throttled, default=Throttling())


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's CPU control group and of its parents."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        inside = base / path.lstrip("/")
        for folder in (inside, *inside.parents):
            if folder.is_dir():
                yield folder
            if folder == base:
                break


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def _throttling(folder: Path) -> Throttling:
    try:
        lines = (folder / "cpu.stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return Throttling()
    counters = {key: int(value) for key, value in (line.split() for line in lines)}
    return Throttling(counters.get("nr_periods", 0), counters.get("nr_throttled", 0))
