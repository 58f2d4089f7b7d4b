"""How well evaluation overlaps reading, inference and judging.

Run ``python tests/bench/eval_pipeline.py``. On the demo's model and its 400 validation images it
times, in one process and interleaved:

- the whole ``eval`` step of a candidate (engine load, reading, inference, suppression, matching,
  COCO metrics, 1000 bootstrap resamples, files),
- reading alone (decode, letterbox, normalise; the same threads),
- inference alone (the same engine, input ready in memory),
- the processor time of the whole step, shared evenly among the cores.

No schedule can be shorter than the longest of the last three; the ratio to it is printed, and the
exit status is 1 when it is above the bar.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mpj_runner.backends import backend
from mpj_runner.backends.base import RunOptions
from mpj_runner.backends.cpus import default_threads
from mpj_runner.contract.model import InputSize, ModelMetadata
from mpj_runner.contract.steps import BuildParams, EvalParams, ExportParams, SnapshotParams
from mpj_runner.steps import build, export, snapshot
from mpj_runner.steps import eval as evaluation
from mpj_runner.vision.inputs import Preprocessor
from mpj_runner.vision.prefetch import prefetched
from mpj_runner.vision.truth import read_truth

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo"
BAR = 1.2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="openvino", choices=("openvino", "onnxruntime"))
    parser.add_argument("--model", type=Path, help="ONNX file; default: the demo's detector")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        inputs = prepared(Path(folder), arguments)
        ratio = measured(Path(folder), inputs, arguments)
    sys.exit(ratio > BAR)


def prepared(home, arguments):
    """Export, freeze, build, and evaluate once as the reference."""
    sys.path.insert(0, str(DEMO))
    source = {"model": arguments.model or DEMO / "detector.pt"}
    if arguments.model:
        params = ExportParams(format="onnx")
    else:
        size = InputSize(height=arguments.size, width=arguments.size)
        params = ExportParams(format="torch", factory="detector:build", input_size=size)
    exported = export.run(params, source, made(home / "export")).files
    data = {"source": DEMO / "data", "metadata": exported["metadata"]}
    params = SnapshotParams(role="validation", format="COCO", split="validation", max_images=400)
    frozen = snapshot.run(params, data, made(home / "snapshot")).files
    params = BuildParams(backend=arguments.backend, precision="fp32")
    built = build.run(params, exported, made(home / "build")).files
    inputs = {"engine": built["engine"], "metadata": exported["metadata"], **frozen}
    first = evaluation.run(settings(arguments), inputs, made(home / "first"))
    print(f"mAP {first.outcome.map:.4f}, {first.outcome.detections} detections")
    return {**inputs, "reference": first.files["detections"]}


def settings(arguments):
    return EvalParams(backend=arguments.backend, precision="fp32")


def measured(home, inputs, arguments):
    metadata = ModelMetadata.model_validate_json(inputs["metadata"].read_bytes())
    paths = [inputs["images"] / name for name in read_truth(inputs["annotations"]).names]
    preprocessor = Preprocessor(metadata)
    ready = list(preprocessor.batches(paths, metadata.batch_size))
    cores = default_threads()
    rounds = {"step": [], "processor": [], "reading": [], "inference": []}

    def read():
        with prefetched(preprocessor.prepare, paths, workers=cores, ahead=16) as images:
            for _ in images:
                pass

    engine = backend(arguments.backend).load(inputs["engine"], RunOptions("fp32"))
    with engine:
        for number in range(arguments.rounds):
            work = made(home / f"round-{number}")
            busy = time.process_time()
            rounds["step"].append(
                timed(lambda to=work: evaluation.run(settings(arguments), inputs, to))
            )
            rounds["processor"].append((time.process_time() - busy) / cores)
            rounds["reading"].append(timed(read))
            rounds["inference"].append(timed(lambda: [engine.infer(batch) for batch in ready]))
    middle = {name: statistics.median(values) for name, values in rounds.items()}
    bound = max(middle["processor"], middle["reading"], middle["inference"])
    ratios = [
        step / max(bounds) for step, *bounds in zip(*(rounds[name] for name in rounds), strict=True)
    ]
    for name, seconds in middle.items():
        print(f"{name:10} {seconds:7.3f} s   {np.round(rounds[name], 3).tolist()}")
    ratio = statistics.median(ratios)
    print(
        f"{arguments.backend}, {len(paths)} images, {cores} cores, load "
        f"{os.getloadavg()[0]:.1f}: step over longest bound ({bound:.3f} s) = {ratio:.3f} "
        f"(bar {BAR}), of each round {np.round(ratios, 3).tolist()}"
    )
    print(json.dumps({"eval_over_bound": round(ratio, 3), "bar": BAR}))
    return ratio


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def made(folder):
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    main()
