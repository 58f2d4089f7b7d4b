"""What the operator costs a cluster, beside the same Jobs without an operator.

``make bench-operator``, or ``python tests/bench/reconciling.py --jobs 200``. A real control plane,
a node that finishes pods at once, and one operator. It prints

- jobs and child Jobs a second, and the latter over bare Jobs of the same pod templates on the same
  control plane (the bar: 0.6),
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
from collections.abc import Sequence
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
RATIO, SECONDS = 0.6, 1.0
QUICK = ("--kube-api-qps=500", "--kube-api-burst=1000")
BUSY = Options((), (*QUICK, "--concurrent-job-syncs=20"), QUICK)
CANDIDATES = [
    {"name": "int8", "ptq": {}},
    {"name": "int8-max", "ptq": {"calibrationMethod": "max"}},
    {"name": "fp16", "autoCast": {}},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--sequential", type=int, default=200)
    parser.add_argument("--workers", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, control_plane(Path(name), BUSY) as plane:
        plane.install(yaml.safe_load(CRD.read_text()))
        plane.namespace("operators")
        plane.install(*rights("operators", "operator"))
        account = plane.kubeconfig_of_account("operators", "operator")
        hardware = Hardware(gpus=100_000, cpus=1_000_000, pods=100_000, memory="100Ti")
        quick = Answers()
        with node(plane, "bench", hardware=hardware, answers=quick):
            with operator(plane, account, workers=args.workers, log_level="WARNING") as running:
                print(f"load before: {os.getloadavg()[0]:.1f}")
                process = psutil.Process(running.process.pid)
                print(f"operator, idle: {process.memory_info().rss / 2**20:.0f} MiB resident")
                slow = first_children(plane, args.sequential)
                rate, templates = many(plane, args.jobs, process)
            bare = bare_rate(plane, templates)
    print(f"bare Jobs of the same templates: {bare:.1f}/s")
    print(f"child Jobs over bare Jobs: {rate / bare:.2f} (bar {RATIO})")
    print(f"load after: {os.getloadavg()[0]:.1f}")
    sys.exit(rate / bare < RATIO or slow > SECONDS)


def first_children(plane: ControlPlane, count: int) -> float:
    """Create jobs one after another; print how long their first children take; return p99."""
    namespace, seconds = plane.namespace("sequential"), []
    for i in range(count):
        name = f"s-{i}"
        started = time.perf_counter()
        plane.api.create(path(MPJ, namespace), job(name, namespace))
        query = {"labelSelector": f"mixedprecision.dev/job={name}"}
        for _ in polled(30, 0.01):
            if plane.api.items(path(JOBS, namespace), **query):
                break
        seconds.append(time.perf_counter() - started)
        plane.api.patch(path(MPJ, namespace, name), {"spec": {"suspend": True}})
    seconds.sort()
    p50, p99 = statistics.median(seconds), seconds[int(0.99 * (count - 1))]
    print(f"apply to first child, {count} in sequence: p50 {p50:.3f} s, p99 {p99:.3f} s (bar 1 s)")
    plane.api.delete(f"/api/v1/namespaces/{namespace}")
    return p99


def many(plane: ControlPlane, count: int, process: psutil.Process) -> tuple[float, list[Json]]:
    """Create jobs at once and wait for all; print; return child Jobs a second and all templates."""
    namespace, events = plane.namespace("many"), plane.audited()
    cpu, started = sum(process.cpu_times()[:2]), time.perf_counter()
    for i in range(count):
        plane.api.create(path(MPJ, namespace), job(f"m-{i}", namespace))
    resident = 0
    for seen in polled(3600, 2.0):
        resident = max(resident, process.memory_info().rss)
        states = Counter(
            item.get("status", {}).get("state", "none")
            for item in plane.api.items(path(MPJ, namespace))
        )
        seen.value = states
        if states["Complete"] + states["Failed"] == count:
            break
    wall = elapsed(plane, namespace) or time.perf_counter() - started
    cpu = sum(process.cpu_times()[:2]) - cpu
    children = plane.api.items(path(JOBS, namespace))
    print(f"{count} jobs: {dict(states)} after {wall:.0f} s: {count / wall:.2f} jobs/s")
    rate = len(children) / wall
    print(f"{len(children)} child Jobs: {rate:.1f}/s")
    print(f"operator: {resident / 2**20:.0f} MiB resident (bar 200), {cpu:.0f} s of CPU")
    asked = Counter(
        f"{event['verb']} {event['objectRef']['resource']}"
        for event in plane.audit(events)
        if event["user"]["username"].startswith("system:serviceaccount:operators:")
    )
    each = ", ".join(f"{what} {n / count:.1f}" for what, n in asked.most_common(8))
    print(f"API requests for each job: {asked.total() / count:.0f} ({each})")
    return rate, children


def elapsed(plane: ControlPlane, namespace: str) -> float:
    """Return the seconds from the first job's creation to the last one's completion."""
    jobs = plane.api.items(path(MPJ, namespace))
    began = min(when(item["metadata"]["creationTimestamp"]) for item in jobs)
    ended = [when(item["status"]["completionTime"]) for item in jobs]
    return max(ended) - began


def when(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def bare_rate(plane: ControlPlane, templates: Sequence[Json]) -> float:
    """Create the same Jobs without owners in another namespace; return Jobs a second."""
    namespace = plane.namespace("bare")
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
    for _ in polled(3600, 2.0):
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


def job(name: str, namespace: str) -> Json:
    made: Json = manifest(name, namespace, candidates=CANDIDATES)
    made["spec"]["model"]["uri"] = f"s3://bucket/{name}.onnx"
    return made


if __name__ == "__main__":
    main()
