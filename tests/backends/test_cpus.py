"""The CPU limit, from control groups of both versions."""

import os

import pytest

from mpj_runner.backends import cpus
from mpj_runner.backends.cpus import Throttling, cpu_limit, default_threads, throttling

CORES = len(os.sched_getaffinity(0))


def world(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = {"proc/self/cgroup": "0::/pod/container\n"}
V1 = {"proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/pod\n"}


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        pytest.param({}, CORES, id="no control groups (macOS)"),
        pytest.param(V2 | {"sys/fs/cgroup/pod/container/cpu.max": "max 100000\n"}, CORES, id="max"),
        pytest.param(
            V2 | {"sys/fs/cgroup/pod/container/cpu.max": "50000 100000\n"}, 0.5, id="half a core"
        ),
        pytest.param(
            V2
            | {
                "sys/fs/cgroup/pod/container/cpu.max": "max 100000\n",
                "sys/fs/cgroup/pod/cpu.max": "70000 100000\n",
            },
            0.7,
            id="the pod's limit binds its containers",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "20000 100000\n"},
            0.2,
            id="inside a container with its own namespace",
        ),
        pytest.param(
            V1
            | {
                "sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us": "30000\n",
                "sys/fs/cgroup/cpu/pod/cpu.cfs_period_us": "100000\n",
            },
            0.3,
            id="version 1",
        ),
        pytest.param(
            V1
            | {
                "sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/pod/cpu.cfs_period_us": "100000\n",
            },
            CORES,
            id="version 1 without a limit",
        ),
        pytest.param(
            V2 | {"sys/fs/cgroup/pod/container/cpu.max": "99900000 100000\n"},
            CORES,
            id="a limit above the machine",
        ),
    ],
)
def test_the_smallest_limit_counts(tmp_path, files, limit):
    assert cpu_limit(world(tmp_path, files)) == pytest.approx(limit)


@pytest.mark.parametrize(("limit", "threads"), [(0.5, 1), (1.0, 1), (1.9, 1), (2.0, 2), (7.5, 7)])
def test_threads_never_exceed_the_limit(monkeypatch, limit, threads):
    monkeypatch.setattr(cpus, "cpu_limit", lambda: limit)
    assert default_threads() == threads


def test_throttling_grows(tmp_path):
    stat = "sys/fs/cgroup/pod/container/cpu.stat"
    text = "usage_usec 12\nnr_periods {}\nnr_throttled {}\n"
    before = throttling(world(tmp_path, V2 | {stat: text.format(10, 1)}))
    after = throttling(world(tmp_path, {stat: text.format(40, 5)}))
    assert after.since(before) == Throttling(30, 4)


def test_without_control_groups_nothing_throttles(tmp_path):
    assert throttling(tmp_path) == Throttling(0, 0)
