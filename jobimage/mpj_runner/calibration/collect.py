"""One streaming pass over the calibration images."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt
import onnx

from mpj_runner.calibration.runs import ActivationRun, NodeByNode, WholeGraph
from mpj_runner.calibration.statistics import Collector, Statistics
from mpj_runner.contract.errors import UserError
from mpj_runner.graph.view import GraphView

Image = npt.NDArray[np.float32]


def collect(
    model: onnx.ModelProto,
    images: Iterable[Image],
    *,
    input_name: str,
    batch_size: int = 1,
    threads: int = 0,
    per_node: bool = False,
) -> Statistics:
    """Run each image once through an FP32 graph and keep the statistics of all activations.

    While one batch is counted, the next one runs.

    Args:
        model: FP32 graph with static shapes.
        images: preprocessed images, float32 (1, 3, height, width) each; read once;
            memory does not grow with their number.
        input_name: the graph's input.
        batch_size: the graph's static batch. A last batch that is not full is filled up with its
            last image, and the padding is left out of the statistics.
        threads: of ONNX Runtime; 0: its own choice, which ModelOpt's calibration takes too.
        per_node: hold the activations of one node at a time. Slower, less memory, same statistics.

    Raises:
        UserError: there are no images, the graph cannot run, or it yields NaN or infinity.
    """
    run: ActivationRun = (NodeByNode if per_node else WholeGraph)(model, threads)
    collector = Collector(batch_size, GraphView(model).constants)
    with ThreadPoolExecutor(1, thread_name_prefix="binning") as pool:
        binning: Future[None] | None = None
        for group in _groups(images, batch_size):
            padding = [group[-1]] * (batch_size - len(group))
            batch = np.ascontiguousarray(np.concatenate([*group, *padding]), dtype=np.float32)
            shown = run.activations({input_name: batch})
            if binning is not None:
                binning.result()
            binning = pool.submit(collector.add, shown, len(group))
        if binning is not None:
            binning.result()
    if collector.images == 0:
        raise UserError(
            "there is no image to calibrate with: point spec.calibration.uri at a folder with "
            "images (and check spec.calibration.split)"
        )
    return collector.result()


def _groups(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    stream = iter(images)
    while group := list(islice(stream, size)):
        yield group
