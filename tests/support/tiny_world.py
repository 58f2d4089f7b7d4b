"""A world in which a whole job takes seconds: a detector, its images, its job."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import onnx
import psutil
import yaml
from click.testing import CliRunner
from tiny_detector import SIZE, detector, write_data

from mpj_operator.cli import main
from mpj_operator.core import params
from mpj_runner.stores.base import file_digest

SECONDS = 0.2
"""Of measurements that nobody looks at."""
DRIVER = Path(__file__).with_name("tiny_mpj.py")


@dataclass(frozen=True)
class Ran:
    """What one ``mpj`` command did."""

    code: int
    output: str
    """Standard output, then standard error."""


@dataclass
class World:
    """A folder with a model, its data and its job; a test changes one thing and runs it."""

    root: Path
    spec: dict[str, Any] = field(default_factory=dict)
    seconds: float = SECONDS
    """That a benchmark takes."""

    @classmethod
    def make(cls, root: Path) -> "World":
        """Write a world in which everything is right."""
        root.mkdir(parents=True, exist_ok=True)
        onnx.save(detector(), root / "model.onnx")
        write_data(root / "data", {"train": 6, "val": 10})
        size = {"height": SIZE, "width": SIZE}
        data = {"uri": "data", "format": "COCO"}
        return cls(
            root,
            {
                "model": {"uri": "model.onnx", "inputSize": size},
                "calibration": {**data, "split": "train"},
                "validation": {**data, "split": "val"},
                "target": {"backend": "onnxruntime", "threads": 1},
                "candidates": [{"name": "int8", "ptq": {}}],
                "objective": {"minSpeedup": "0"},
            },
        )

    def copy(self, root: Path) -> "World":
        """Copy the world with its output and cache to another folder."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return World(root, copy.deepcopy(self.spec))

    @property
    def job(self) -> Path:
        return self.root / "job.yaml"

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def store(self) -> Path:
        return self.out / "cache"

    @property
    def annotations(self) -> Path:
        return self.root / "data/annotations/instances_val.json"

    def change(self, **members: Any) -> None:
        """Update members of the spec; mappings are merged."""
        for name, value in members.items():
            old = self.spec.get(name)
            self.spec[name] = {**old, **value} if isinstance(old, dict) else value

    def relabel(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Let a function change the parsed validation annotations."""
        data = json.loads(self.annotations.read_text())
        change(data)
        self.annotations.write_text(json.dumps(data))

    def remodel(self, model: onnx.ModelProto, name: str = "model.onnx") -> None:
        """Write a graph over the model, or beside it."""
        onnx.save(model, self.root / name)

    def cut(self, name: str, length: int) -> None:
        """Keep only the first bytes of a file."""
        path = self.root / name
        path.write_bytes(path.read_bytes()[:length])

    def write(self) -> Path:
        """Write the job's file."""
        document = {
            "apiVersion": "mixedprecision.dev/v1alpha1",
            "kind": "MixedPrecisionJob",
            "metadata": {"name": "tiny"},
            "spec": self.spec,
        }
        self.job.write_text(yaml.safe_dump(document, sort_keys=False))
        return self.job

    def mpj(self, *words: str) -> Ran:
        """Run a command in this process."""
        with mock.patch.object(params, "BENCHMARK_SECONDS", self.seconds):
            result = CliRunner().invoke(main, [*words], catch_exceptions=False)
        return Ran(result.exit_code, result.stdout + result.stderr)

    def run(self, *words: str) -> Ran:
        """Write the job and run it in this process."""
        return self.mpj("run", str(self.write()), "--out", str(self.out), *words)

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        """Write the job and run it as a process, which a terminal would have as its own group."""
        command = [sys.executable, str(DRIVER), "run", str(self.write()), "--out", str(self.out)]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    @property
    def resource(self) -> dict[str, Any]:
        """The job as DIR/status.yaml shows it."""
        return yaml.safe_load((self.out / "status.yaml").read_text())

    @property
    def status(self) -> dict[str, Any]:
        return self.resource["status"]

    def condition(self, kind: str) -> dict[str, Any] | None:
        return next((c for c in self.status["conditions"] if c["type"] == kind), None)

    def unit(self, name: str) -> dict[str, Any]:
        return next(u for u in self.status["unitStatuses"] if u["name"] == name)

    def result(self, name: str) -> dict[str, Any]:
        listed = [self.status.get("reference"), self.status.get("baseline")]
        listed += self.status.get("candidates", [])
        return next(r for r in listed if r and r["name"] == name)

    def started_units(self) -> set[str]:
        """Return the units that had a process: those with logs."""
        logs = self.out / "logs"
        return {path.name for path in logs.iterdir()} if logs.exists() else set()

    def manifests(self) -> dict[str, tuple[int, ...]]:
        """Return the stored results, measurements apart, with the times their files were written.

        A manifest that is used is written again, so that it stays young; only a step that runs
        writes files.
        """
        blobs = self.store / "blobs/sha256"
        return {
            name: tuple(
                (blobs / blob["sha256"]).stat().st_mtime_ns
                for blob in json.loads(text)["outputs"].values()
            )
            for name, text in self.results().items()
        }

    def results(self) -> dict[str, str]:
        """Return the stored manifests, measurements apart."""
        return {
            path.relative_to(self.store / "manifests").as_posix(): path.read_text()
            for path in (self.store / "manifests").rglob("*.json")
            if path.parent.name not in ("benchmark", "report")
        }

    def damage(self) -> list[str]:
        """Return what a reader of the store could stumble over: partial files, wrong digests."""
        files = [path for path in self.store.rglob("*") if path.is_file()]
        return [
            path.name
            for path in files
            if path.name.startswith(".part-")
            or (path.parent.name == "sha256" and path.name != file_digest(path))
        ]

    def wait_for_step(self, unit: str, step: str, seconds: float = 60) -> None:
        """Wait until a unit runs a step."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (self.out / "status.yaml").exists():
                found = self.unit(unit)
                if (found["state"], found.get("step")) == ("Running", step):
                    return
            time.sleep(0.02)
        raise AssertionError(f"{unit} never ran {step}")


def descendants(pid: int) -> list[psutil.Process]:
    """Return the processes below one."""
    return psutil.Process(pid).children(recursive=True)


def gone(processes: list[psutil.Process], seconds: float = 5) -> bool:
    """Tell whether all of these processes end soon."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
