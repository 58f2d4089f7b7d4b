"""A world in which a whole job takes seconds: a detector that detects, its images, its job.

Images are 64 x 64, black, with coloured squares on an 8 x 8 grid. The class is the colour and the
score is how bright it is: three convolutions that halve the image average each cell, and a fourth
is the head. More channels of noise give quantization something to do.
"""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import onnx
import psutil
import yaml
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from mpj_operator.cli import main
from mpj_operator.core import params
from mpj_runner.stores.base import file_digest

SIZE, CELL = 64, 8
GRID = SIZE // CELL
NAMES = ("red", "green", "blue")
CHANNELS = 24  # fewer than 16 and ModelOpt would quantize nothing
SECONDS = 0.2
"""Of measurements that nobody looks at."""
DRIVER = Path(__file__).with_name("tiny_mpj.py")


def detector(
    *, size: Any = SIZE, batch: Any = 1, gain: float = 1.0, poison: bool = False, classes: int = 3
) -> onnx.ModelProto:
    """Return the detector.

    Args:
        size: height and width of the declared input; a string makes them dynamic.
        batch: of the declared input.
        gain: factor on the scores; with 0 it finds nothing.
        poison: answers NaN, whatever it sees.
        classes: scores that it gives; those beyond the third are zero.
    """
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    nodes, last, inputs = [], "images", 3
    for layer in range(3):
        kernel = rng.normal(0, 0.1, (CHANNELS, inputs, 2, 2)).astype(np.float32)
        kernel[:3] = 0
        for colour in range(3):
            kernel[colour, colour] = 0.25
        weights[f"w{layer}"], inputs = kernel, CHANNELS
        nodes += [
            helper.make_node(
                "Conv", [last, f"w{layer}"], [f"c{layer}"], f"/body.{layer}/Conv", strides=[2, 2]
            ),
            helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"], f"/body.{layer}/Relu"),
        ]
        last = f"r{layer}"
    head = np.zeros((classes, CHANNELS, 1, 1), np.float32)
    for colour in range(min(3, classes)):
        head[colour, colour] = gain
    cells = GRID * GRID
    at = (np.stack(np.meshgrid(*[np.arange(GRID)] * 2), 0).reshape(2, cells) + 0.5) * CELL
    boxes = np.concatenate([at, np.full((2, cells), CELL)]).astype(np.float32)[None]
    weights |= {"head": head, "boxes": boxes, "flat": np.int64([1, classes, cells])}
    nodes += [
        helper.make_node("Conv", [last, "head"], ["h"], "/head/Conv"),
        helper.make_node("Reshape", ["h", "flat"], ["scores"], "/head/Reshape"),
        helper.make_node("Concat", ["boxes", "scores"], ["found"], "/head/Concat", axis=1),
    ]
    if poison:  # the sum of squares plus one is positive: the root of its negative is NaN
        weights["minus"] = np.float32(-1)
        nodes += [
            helper.make_node("ReduceSumSquare", ["scores"], ["sum"], "/nan/Sum", keepdims=0),
            helper.make_node("Sub", ["minus", "sum"], ["negative"], "/nan/Sub"),
            helper.make_node("Sqrt", ["negative"], ["nan"], "/nan/Sqrt"),
            helper.make_node("Add", ["found", "nan"], ["output0"], "/nan/Add"),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["found"], ["output0"], "/end/Identity"))
    shapes = ("images", [batch, 3, size, size]), ("output0", [batch, 4 + classes, cells])
    source, target = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes)
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", [source], [target], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write_data(folder: Path, counts: Mapping[str, int]) -> None:
    """Write a COCO data set: images/<split>/*.png and annotations/instances_<split>.json."""
    rng = np.random.default_rng(1)
    (folder / "annotations").mkdir(parents=True)
    for split, count in counts.items():
        (folder / "images" / split).mkdir(parents=True)
        images, annotations = [], []
        for number in range(1, count + 1):
            pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
            for cell in rng.permutation(GRID * GRID)[: rng.integers(3, 12)]:
                colour, x, y = (
                    int(rng.integers(3)),
                    int(cell % GRID) * CELL,
                    int(cell // GRID) * CELL,
                )
                pixels[y : y + CELL, x : x + CELL, 2 - colour] = rng.integers(60, 256)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": colour + 1,
                        "bbox": [x, y, CELL, CELL],
                        "area": CELL * CELL,
                        "iscrowd": 0,
                    }
                )
            name = f"{number:03d}.png"
            cv2.imwrite(str(folder / "images" / split / name), pixels)
            images.append({"id": number, "file_name": name, "width": SIZE, "height": SIZE})
        categories = [{"id": i, "name": name} for i, name in enumerate(NAMES, 1)]
        (folder / "annotations" / f"instances_{split}.json").write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": categories})
        )


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
        with mock.patch.object(params, "BENCHMARK_SECONDS", SECONDS):
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

    def manifests(self) -> dict[str, int]:
        """Return the stored results, measurements apart, with the times they were written."""
        found = (self.store / "manifests").rglob("*.json")
        return {
            path.relative_to(self.store / "manifests").as_posix(): path.stat().st_mtime_ns
            for path in found
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
