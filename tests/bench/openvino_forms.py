"""Print how fast OpenVINO runs the forms that an INT8 graph can be given, interleaved.

    python tests/bench/openvino_forms.py FP32.onnx SIGNED.onnx [--seconds 2] [--profile u8fold/f32]

Needs numpy, onnx and openvino only, so it travels to a machine with other instruction sets easily.
Limit the instruction set with ONEDNN_MAX_CPU_ISA (AVX2, AVX512_CORE_VNNI, AVX512_CORE_AMX, ...).
"""

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import openvino as ov

sys.path.insert(0, str(Path(__file__).parents[2] / "jobimage"))
from mpj_runner.graph import rewrites
from mpj_runner.graph.pairs import Pairs, sweep

FORMS = {
    "signed": (),
    "signedfold": (rewrites.fold_weights,),
    "u8": (lambda x: rewrites.shift_activations(x, np.uint8),),
    "u8fold": (lambda x: rewrites.shift_activations(x, np.uint8), rewrites.fold_weights),
}
HINTS = {"default": {}, "f32": {"INFERENCE_PRECISION_HINT": "f32"}}


def formed(model, rewriting):
    made = onnx.ModelProto()
    made.CopyFrom(model)
    pairs = Pairs(made)
    for rewrite in rewriting:
        rewrite(pairs)
    sweep(pairs)
    return made


def compiled(model, hints, threads, *, profile=False):
    core = ov.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, **HINTS[hints]}
    if profile:
        settings["PERF_COUNT"] = True
    return core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)


def kinds(model):
    count = Counter()
    for node in model.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        if str(facts["layerType"].value) in {"Convolution", "Reorder", "FakeQuantize", "Eltwise"}:
            count[f"{facts['layerType'].value}:{facts['runtimePrecision'].value}"] += 1
    return ", ".join(f"{k} {v}" for k, v in sorted(count.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fp32", type=Path)
    parser.add_argument("signed", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--profile", nargs="*", default=[], help="form/hint: its kernels' times")
    args = parser.parse_args()
    fp32, signed = onnx.load(args.fp32), onnx.load(args.signed)
    graphs = {"fp32": fp32} | {name: formed(signed, FORMS[name]) for name in args.forms}
    dims = fp32.graph.input[0].type.tensor_type.shape.dim
    batch = np.random.default_rng(0).random([d.dim_value for d in dims], dtype=np.float32)
    requests, outputs = {}, {}
    for name, graph in graphs.items():
        for hints in HINTS:
            model = compiled(graph, hints, args.threads)
            request = model.create_infer_request()
            request.set_input_tensor(ov.Tensor(batch, shared_memory=True))
            request.infer()
            outputs[f"{name}/{hints}"] = np.array(request.get_output_tensor(0).data)
            requests[f"{name}/{hints}"] = request
            print(f"{name}/{hints}: {kinds(model)}")
    times = {name: [] for name in requests}
    end = time.perf_counter() + args.seconds * len(requests)
    order = list(requests)
    while time.perf_counter() < end:
        random.shuffle(order)
        for name in order:
            for _ in range(3):
                start = time.perf_counter_ns()
                requests[name].infer(share_outputs=True)
                times[name].append((time.perf_counter_ns() - start) / 1e6)
    base = np.median(times["fp32/f32"])
    exact = outputs["fp32/f32"]
    for name, found in times.items():
        error = outputs[name] - exact
        noise = 10 * np.log10(np.square(exact).sum() / max(np.square(error).sum(), 1e-30))
        p50, worst = np.median(found), np.abs(error[:, 4:]).max()
        print(
            f"{name:20} p50 {p50:7.3f} ms  speedup {base / p50:.3f}"
            f"  signal to noise {noise:5.1f} dB  widest score error {worst:.3f}"
        )
    for profile in args.profile:
        name, hints = profile.split("/")
        print(profile)
        model = compiled(graphs[name], hints, args.threads, profile=True)
        request = model.create_infer_request()
        total, kind = Counter(), {}
        for _ in range(50):
            request.infer([batch])
            for x in request.get_profiling_info():
                total[x.node_name] += x.real_time.total_seconds() * 1e6 / 50
                kind[x.node_name] = f"{x.node_type} {x.exec_type}"
        by_kind = Counter()
        for node, micros in total.items():
            by_kind[kind[node]] += micros
        for text, micros in by_kind.most_common(14):
            print(f"  {micros:8.0f} us  {text}")


if __name__ == "__main__":
    main()
