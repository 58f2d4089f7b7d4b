"""What five quantized candidates cost beside one call of ModelOpt's ``quantize``.

Run ``python tests/bench/quantization.py``. On the demo's model and its calibration images, at the
demo's input size and at the 640 pixels of most detectors, it prints

- how often each image is read for a pass over the images and for five candidates (the bar: once),
- the time of one pass and of five candidates over the time of one ``quantize`` with max ranges of
  the same images (the bar: 1.5; the exit status is 1 when a bar is missed at either size). What a
  candidate costs beside the pass depends on the graph alone, so small images show it most,
- the peak memory of each, measured in a process of its own.

Imports are left out of all times: a warm-up call in the same process comes first.
"""

import argparse
import contextlib
import io
import logging
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx

from mpj_runner.contract.model import InputSize, ModelMetadata
from mpj_runner.contract.steps import CalibrateParams, ExportParams, PtqParams
from mpj_runner.graph.head import find_head
from mpj_runner.graph.names import pattern_of
from mpj_runner.graph.view import GraphView
from mpj_runner.steps import calibrate, export, ptq
from mpj_runner.vision.images import list_images
from mpj_runner.vision.inputs import Preprocessor

DEMO = Path(__file__).parents[2] / "examples" / "demo"
BAR = 1.5
CANDIDATES = {
    "mse": PtqParams(),
    "percentile": PtqParams(calibration_method="percentile", percentile=99.99),
    "entropy": PtqParams(calibration_method="entropy"),
    "max, head too": PtqParams(calibration_method="max", keep_head=False),
    "mse, no Concat groups": PtqParams(share_concat_scales=False, op_types_to_exclude=("Add",)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="ONNX file; default: the demo's detector")
    parser.add_argument("--images", type=Path, default=DEMO / "data" / "calibration")
    parser.add_argument("--sizes", type=int, nargs="+", default=(256, 640))
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    missed = [measured(arguments, size) for size in arguments.sizes]
    sys.exit(any(missed))


def measured(arguments, size):
    """Print the figures at one input size; return whether a bar is missed."""
    with tempfile.TemporaryDirectory() as name:
        inputs = prepared(Path(name), arguments, size)
        print(f"images: {len(list_images(inputs['images']))}, {size} x {size}")
        counted = apart(count_reads, inputs)
        print(
            "reads of an image, calibration and five candidates: at least {}, at most {}".format(
                *counted
            )
        )
        one, five = [], []
        for _ in range(arguments.rounds):
            one.append(apart(time_modelopt, inputs))
            five.append(apart(time_ours, inputs))
        theirs, ours = min(x["seconds"] for x in one), min(x["seconds"] for x in five)
        best = min(five, key=lambda x: x["seconds"])
        print(f"one quantize call, max: {theirs:.2f} s, peak {one[0]['peak']:.0f} MiB")
        print(
            f"one pass + {len(CANDIDATES)} candidates: {ours:.2f} s "
            f"(pass {best['pass']:.2f} s, candidates {best['candidates']}), "
            f"peak {five[0]['peak']:.0f} MiB"
        )
        print(f"ratio: {ours / theirs:.2f} (bar {BAR}), load {os.getloadavg()[0]:.1f}")
        for per_node in (False, True):
            seconds, peak, base = apart(pass_alone, inputs, per_node=per_node)
            way = "node by node" if per_node else "whole graph"
            print(f"pass alone, {way}: {seconds:.2f} s, peak {peak:.0f} MiB ({base:.0f} before)")
    return counted != (1, 1) or ours / theirs > BAR


def apart(function, *args, **kwargs):
    """Run a function in a process of its own, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def prepared(home, arguments, side):
    """Export the demo, or take the given model; return the inputs of calibrate."""
    size = InputSize(height=side, width=side)
    if arguments.model is None:
        sys.path.insert(0, str(DEMO))
        params = ExportParams(format="torch", factory="detector:build", input_size=size)
        files = export.run(params, {"model": DEMO / "detector.pt"}, home).files
        return {**files, "images": arguments.images}
    graph = onnx.load(arguments.model).graph
    metadata = ModelMetadata(
        input_name=graph.input[0].name,
        output_name=graph.output[0].name,
        batch_size=1,
        input_size=size,
        class_count=1,
        preprocess={},
        decoder="YOLO",
        opset=19,
        source_format="onnx",
    )
    (home / "metadata.json").write_text(metadata.model_dump_json())
    return {
        "model": arguments.model,
        "metadata": home / "metadata.json",
        "images": arguments.images,
    }


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_folder(function, *args):
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        result = function(*args, Path(name))
        return result, time.perf_counter() - started


def count_reads(inputs):
    """Return the least and the greatest number of times that an image was read."""
    reads = Counter(dict.fromkeys(list_images(inputs["images"]), 0))
    plain = Preprocessor.prepare

    def counting(self, path):
        reads[path] += 1
        return plain(self, path)

    Preprocessor.prepare = counting
    all_of_ours(inputs)
    return min(reads.values()), max(reads.values())


def all_of_ours(inputs):
    """Run calibrate once and ptq for every candidate; return the seconds of each."""
    seconds = {}
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        files = calibrate.run(CalibrateParams(), inputs, Path(name)).files
        seconds["pass"] = time.perf_counter() - started
        for label, params in CANDIDATES.items():
            given = {**inputs, "statistics": files["statistics"]}
            seconds[label] = in_folder(ptq.run, params, given)[1]
    return seconds


def warmed(inputs):
    """Import and initialise all that both ways need."""
    logging.disable(logging.CRITICAL)
    images = Preprocessor(metadata_of(inputs)).batches(list_images(inputs["images"])[:1], 1)
    in_folder(quantize_publicly, inputs, np.concatenate(list(images)))


def time_ours(inputs):
    warmed(inputs)
    seconds = all_of_ours(inputs)
    return {
        "seconds": sum(seconds.values()),
        "pass": seconds.pop("pass"),
        "candidates": ", ".join(f"{label} {value:.2f}" for label, value in seconds.items()),
        "peak": peak(),
    }


def time_modelopt(inputs):
    """Read the images into one array, as ``quantize`` takes them, and calibrate with it."""
    warmed(inputs)

    def whole(work):
        paths = list_images(inputs["images"])
        quantize_publicly(inputs, np.concatenate(list(reader.batches(paths, 1))), work)

    reader = Preprocessor(metadata_of(inputs))
    return {"seconds": in_folder(whole)[1], "peak": peak()}


def pass_alone(inputs, *, per_node):
    base = peak()
    params = CalibrateParams(calibrate_per_node=per_node)
    return in_folder(calibrate.run, params, inputs)[1], peak(), base


def metadata_of(inputs):
    return ModelMetadata.model_validate_json(inputs["metadata"].read_bytes())


def quantize_publicly(inputs, images, work):
    from modelopt.onnx.quantization import quantize

    model = onnx.load(inputs["model"])
    onnx.save(model, work / "source.onnx")
    with contextlib.redirect_stdout(io.StringIO()):
        quantize(
            str(work / "source.onnx"),
            calibration_method="max",
            calibration_data=images,
            calibration_eps=["cpu"],
            nodes_to_exclude=[pattern_of(find_head(GraphView(model)).nodes)],
            high_precision_dtype="fp32",
            output_path=str(work / "quantized.onnx"),
            log_level="ERROR",
        )


if __name__ == "__main__":
    main()
