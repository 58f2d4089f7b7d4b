"""How large activations become on real images."""

from collections.abc import Iterable

import numpy as np
import onnx
from modelopt.onnx.autocast.referencerunner import TensorStats

from mpj_runner.calibration.runs import Feed, WholeGraph


def activation_stats(
    model: onnx.ModelProto, feeds: Iterable[Feed], threads: int = 0
) -> dict[str, TensorStats]:
    """Return the range of every float32 activation over all feeds.

    ModelOpt's own reference run keeps every activation of every image in memory at once; this one
    keeps those of one batch. It also leaves integers out: ModelOpt takes an index above its limit
    for a value that FP16 cannot hold.

    Args:
        model: the FP32 graph.
        feeds: input batches by input name.
        threads: of ONNX Runtime; 0 for its default.

    Returns:
        Statistics by tensor name, in the type that ModelOpt's rules read.
    """
    run = WholeGraph(_with_read_outputs(model), threads)
    found: dict[str, TensorStats] = {}
    for feed in feeds:
        for name, values in run.activations(feed):
            if values.size == 0:
                continue
            low, high = float(values.min()), float(values.max())
            peak = max(abs(low), abs(high)) if np.isfinite([low, high]).all() else np.inf
            seen = found.get(name)
            found[name] = TensorStats(
                absmax=max(peak, seen.absmax) if seen else peak,
                min_val=min(low, seen.min_val) if seen else low,
                max_val=max(high, seen.max_val) if seen else high,
                shape=tuple(values.shape),
            )
    return found


def _with_read_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let a node read every output of the graph: only tensors that some node reads are shown."""
    read = onnx.ModelProto()
    read.CopyFrom(model)
    for output in model.graph.output:
        read.graph.node.add(op_type="Identity", input=[output.name], output=[f"{output.name}/read"])
    return read
