"""What the operator costs a cluster, beside the same Jobs without an operator.

``make bench-operator``, or ``python tests/bench/reconciling.py --jobs 200``. A real control plane,
a node that finishes pods at once, and one operator. It prints

- jobs and child Jobs a second, and the latter over as many bare Jobs of the same pod templates on
  the same control plane, in turns (the bar: 0.6); all jobs of a round are there at once,
- the time from a job's creation to that of its first child over sequential creations, p50 and p99
  (the bar: 1 s),
- the operator's resident memory, its CPU time, and its requests to the API for each job.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import yaml
from answers import Answers
from controlplane import ControlPlane, Options, control_plane
from nodeagent import Hardware, node
from operating import JOBS, MPJ, manifest, operator, rights
from rest import Json, path, polled

CRD = Path(__file__).parents[2] / "crds" / "mixedprecision.dev_mixedprecisionjobs.yaml"
RATIO, SECONDS, MIB = 0.6, 1.0, 2**20
POLL = 10.0
"""Seconds between two looks at all jobs, which cost the API server something too."""
QUICK = ("--kube-api-qps=500", "--kube-api-burst=1000")
AS_SHIPPED = {"resync_seconds": 120, "log_level": "WARNING"}
BUSY = Options((), (*QUICK, "--concurrent-job-syncs=20"), QUICK)
CANDIDATES = [
    {"name": "int8", "ptq": {}},
    {"name": "int8-max", "ptq": {"calibrationMethod": "max"}},
    {"name": "fp16", "autoCast": {}},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sequential", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, control_plane(Path(name), BUSY) as plane:
        plane.install(yaml.safe_load(CRD.read_text()))
        plane.namespace("operators")
        plane.install(*rights("operators", "operator"))
        account = plane.kubeconfig_of_account("operators", "operator")
        hardware = Hardware(gpus=100_000, cpus=1_000_000, pods=100_000, memory="100Ti")
        quick = Answers()
        with (
            node(plane, "bench", hardware=hardware, answers=quick),
            operator(plane, account, **AS_SHIPPED) as running,
        ):
            print(f"load before: {os.getloadavg()[0]:.1f}")
            bench = Bench(plane, psutil.Process(running.process.pid))
            print(f"operator, idle: {bench.resident / MIB:.0f} MiB resident")
            slow = bench.first_children(args.sequential)
            ratios = [bench.round(i, args.jobs) for i in range(args.rounds)]
    ratio = statistics.median(ratios)
    spread = f"[{min(ratios):.2f}, {max(ratios):.2f}]"
    print(f"child Jobs over bare Jobs: {ratio:.2f} {spread} (bar {RATIO})")
    print(f"load after: {os.getloadavg()[0]:.1f}")
    sys.exit(ratio < RATIO or slow > SECONDS)


@dataclass
class Bench:
    """A control plane with an operator, and what was seen of them."""

    plane: ControlPlane
    process: psutil.Process
    most: int = 0
    """Bytes that the operator had resident at most."""

    @property
    def resident(self) -> int:
        self.most = max(self.most, self.process.memory_info().rss)
        return self.most

    def first_children(self, count: int) -> float:
        """Create jobs one after another; print how long their first children take; return p99."""
        api, namespace, seconds = self.plane.api, self.plane.namespace("sequential"), []
        for i in range(count):
            name = f"s-{i}"
            started = time.perf_counter()
            api.create(path(MPJ, namespace), job(name, namespace))
            query = {"labelSelector": f"mixedprecision.dev/job={name}"}
            for _ in polled(30, 0.01):
                if api.items(path(JOBS, namespace), **query):
                    break
            seconds.append(time.perf_counter() - started)
            api.patch(path(MPJ, namespace, name), {"spec": {"suspend": True}})
        seconds.sort()
        p50, p99 = statistics.median(seconds), seconds[int(0.99 * (count - 1))]
        print(
            f"apply to first child, {count} in sequence: p50 {p50:.3f} s, p99 {p99:.3f} s (bar 1 s)"
        )
        self.delete(namespace)
        return p99

    def delete(self, namespace: str) -> None:
        """Delete a namespace, and wait until all that was in it is gone."""
        url = f"/api/v1/namespaces/{namespace}"
        self.plane.api.delete(url)
        self.plane.api.until(url, lambda found: found is None, 3600)

    def costs(self, since: Mapping[str, float], count: int) -> str:
        """Say what CPU every process has had for each child."""
        spent = {name: 1e3 * (s - since[name]) / count for name, s in spent_by().items()}
        return ", ".join(f"{name} {ms:.0f} ms" for name, ms in spent.items())

    def round(self, number: int, count: int) -> float:
        """Run jobs, then bare Jobs of the same templates; return the ratio of their rates."""
        if number:
            self.delete(f"bare-{number - 1}")
        rate, templates = self.many(f"many-{number}", count)
        self.delete(f"many-{number}")  # as many Jobs beside them would slow the others down
        before = spent_by()
        bare = bare_rate(self.plane, f"bare-{number}", templates)
        print(f"bare Jobs of the same templates: {bare:.1f}/s, so {rate / bare:.2f}")
        print(f"CPU for each: {self.costs(before, len(templates))}")
        return rate / bare

    def many(self, name: str, count: int) -> tuple[float, list[Json]]:
        """Create jobs at once and wait for all; print; return child Jobs a second, and these."""
        namespace, events, before = self.plane.namespace(name), self.plane.audited(), spent_by()
        for i in range(count):
            self.plane.api.create(path(MPJ, namespace), job(f"{name}-{i}", namespace))
        states: Counter[str] = Counter()
        await_end(lambda: self.plane.api.get(path(MPJ, namespace, f"{name}-{count - 1}")))
        for _ in polled(3600, POLL):
            states = Counter(
                item.get("status", {}).get("state", "none")
                for item in self.plane.api.items(path(MPJ, namespace))
            )
            if states["Complete"] + states["Failed"] == count:
                break
        wall, children = elapsed(self.plane, namespace), self.plane.api.items(path(JOBS, namespace))
        rate = len(children) / wall
        print(f"{count} jobs: {dict(states)} after {wall:.0f} s: {count / wall:.2f} jobs/s")
        print(f"{len(children)} child Jobs: {rate:.1f}/s")
        print(f"CPU for each: {self.costs(before, len(children))}")
        print(f"operator: {self.resident / MIB:.0f} MiB resident (bar 200)")
        asked = Counter(
            f"{event['verb']} {event['objectRef']['resource']}"
            for event in self.plane.audit(events)
            if event["user"]["username"].startswith("system:serviceaccount:operators:")
        )
        each = ", ".join(f"{what} {n / count:.1f}" for what, n in asked.most_common(8))
        print(f"API requests for each job: {asked.total() / count:.0f} ({each})")
        return rate, children


def spent_by() -> dict[str, float]:
    """Return the seconds of CPU of every process of this benchmark, by its name."""
    here = psutil.Process()
    spent = {"node": sum(here.cpu_times()[:2])}
    for process in here.children():
        name = process.name().removeprefix("kube-")
        spent["operator" if name.startswith("python") else name] = sum(process.cpu_times()[:2])
    return spent


def elapsed(plane: ControlPlane, namespace: str) -> float:
    """Return the seconds from the first job's creation to the last one's completion."""
    jobs = plane.api.items(path(MPJ, namespace))
    began = min(when(item["metadata"]["creationTimestamp"]) for item in jobs)
    ended = [when(item["status"]["completionTime"]) for item in jobs]
    return max(ended) - began


def when(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def bare_rate(plane: ControlPlane, name: str, templates: Sequence[Json]) -> float:
    """Create the same Jobs without owners in another namespace; return Jobs a second."""
    namespace = plane.namespace(name)
    for child in templates:
        body: dict[str, Any] = {
            "metadata": {"name": child["metadata"]["name"]},
            "spec": {
                key: child["spec"][key]
                for key in ("backoffLimit", "podReplacementPolicy", "podFailurePolicy")
            },
        }
        template = child["spec"]["template"]
        labels = {
            key: value
            for key, value in template["metadata"]["labels"].items()
            if key.startswith("mixedprecision.dev/unit")
        }
        body["spec"]["template"] = {"metadata": {"labels": labels}, "spec": template["spec"]}
        plane.api.create(path(JOBS, namespace), body)
    last = templates[-1]["metadata"]["name"]
    await_end(lambda: plane.api.get(path(JOBS, namespace, last)))
    for _ in polled(3600, POLL):
        done = [
            item["status"]
            for item in plane.api.items(path(JOBS, namespace))
            if item.get("status", {}).get("completionTime")
        ]
        if len(done) == len(templates):
            break
    jobs = plane.api.items(path(JOBS, namespace))
    began = min(when(item["metadata"]["creationTimestamp"]) for item in jobs)
    ended = max(when(item["status"]["completionTime"]) for item in jobs)
    return len(templates) / (ended - began)


def await_end(get: Callable[[], Json | None]) -> None:
    """Wait for one object's end: to look at all of them takes the API server from its work."""
    for _ in polled(3600, 1.0):
        if ((get() or {}).get("status") or {}).get("completionTime"):
            return


def job(name: str, namespace: str) -> Json:
    made: Json = manifest(name, namespace, candidates=CANDIDATES)
    made["spec"]["model"]["uri"] = f"s3://bucket/{name}.onnx"
    return made


if __name__ == "__main__":
    main()
