"""Print how fast engines are against the first of them, measured interleaved in this process.

    python tests/bench/latency.py --backend openvino fp32=model.onnx:fp32 int8=q.onnx:int8
    python tests/bench/latency.py --backend tensorrt fp16=engines/fp16:fp16 int8=engines/int8:int8

A file is a graph, which is legalised and built first; a folder is an engine that `build` wrote.
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, cast, get_args

import numpy as np
import onnx

from mpj_runner.backends import backend, cuda
from mpj_runner.backends.base import RunOptions
from mpj_runner.backends.benchmark import Plan, drift, latency, measure, speedup, throughput
from mpj_runner.backends.conditions import Watch
from mpj_runner.backends.cpus import default_threads
from mpj_runner.backends.hardware import int8_products
from mpj_runner.backends.layers import count
from mpj_runner.backends.lock import machine_lock
from mpj_runner.contract.steps import BackendName, BuildParams, Precision
from mpj_runner.graph.legalize import legalize


class Contender(NamedTuple):
    name: str
    path: Path
    precision: Precision


def contender(text: str) -> Contender:
    name, _, rest = text.partition("=")
    path, _, precision = rest.rpartition(":")
    if not path or precision not in get_args(Precision):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH:PRECISION")
    return Contender(name, Path(path), cast("Precision", precision))


def engine_of(given: Contender, name: BackendName, threads: int, work: Path) -> Path:
    """Return an engine's folder, built when a graph was given."""
    if given.path.is_dir():
        return given.path
    folder = work / given.name
    folder.mkdir()
    model = onnx.load(given.path)
    on_gpu = cuda.device_count() > 0
    legal, notes = legalize(model, name, products=int8_products(), cuda=on_gpu)
    onnx.save(legal, work / f"{given.name}.onnx")
    params = BuildParams(backend=name, precision=given.precision, threads=threads)
    layers = backend(name).build(work / f"{given.name}.onnx", params, folder)
    found = count(layers)
    print(f"{given.name}: {found.quantized} of {found.total} layers in 8 bits; {'; '.join(notes)}")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="+", type=contender, metavar="NAME=PATH:PRECISION")
    parser.add_argument("--backend", choices=get_args(BackendName), required=True)
    parser.add_argument("--shape", type=int, nargs=4, metavar=("B", "C", "H", "W"), required=True)
    parser.add_argument("--seconds", type=float, default=3.0, help="on each engine")
    parser.add_argument("--threads", type=int, default=default_threads())
    args = parser.parse_args()
    batch = np.random.default_rng(0).random(args.shape, dtype=np.float32)
    runtime = backend(args.backend)
    on_gpu = args.backend != "openvino" and cuda.device_count() > 0
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        folders = {
            x.name: engine_of(x, args.backend, args.threads, Path(work)) for x in args.engines
        }
        stack.enter_context(machine_lock())
        steppers = {
            x.name: stack.enter_context(
                runtime.load(folders[x.name], RunOptions(x.precision, args.threads))
            ).stepper(batch)
            for x in args.engines
        }
        watch = Watch(on_gpu=on_gpu)
        times = measure(steppers, Plan(seconds=args.seconds))
    first = times[args.engines[0].name]
    print(f"\n{'engine':16} {'p50 ms':>9} {'p90':>9} {'p99':>9} {'images/s':>9}  speedup (95 %)")
    for name, found in times.items():
        ms, ratio = latency(found), speedup(first, found, resamples=2000)
        rate = throughput(found, args.shape[0])
        print(
            f"{name:16} {ms.p50:9.3f} {ms.p90:9.3f} {ms.p99:9.3f} {rate:9.1f}"
            f"  {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
        )
    seen = watch.conditions(machine=runtime.hardware(), threads=args.threads, drift=drift(first))
    print(f"\n{seen.hardware}, {args.threads} threads, load {seen.load_average:.1f}")
    print(f"unreliable: {seen.unreliable}" if seen.unreliable else "sound")


if __name__ == "__main__":
    main()
