"""ModelOpt's public ``quantize``, given ready ranges instead of images.

``quantize`` asks one factory for a calibrator, runs it over the images and takes the ranges from
what it returns. Here the factory's product takes them from the statistics instead, for exactly the
tensors and Concat groups that ModelOpt chose. Placement, weights, grouping and conversion stay
ModelOpt's own, so the graph equals, bit for bit, the one of a full calibration with these ranges.
The public way, ``calibration_cache_path``, gives the same graphs for INT8 (a test holds the two
together), yet FP8 ignores it, and it does not hold the inputs of a Concat to one scale.
"""

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from mpj_runner.calibration.ranges import Ranges
from mpj_runner.contract.quantization import HighPrecision, QuantFormat

_FACTORY: Final = "_create_calibrator_with_extra_options"
FP8_OP_TYPES: Final = frozenset({"Add", "Conv", "Gemm", "MatMul"})
"""What ModelOpt quantizes to FP8."""


@dataclass(frozen=True)
class Placement:
    """Which nodes are quantized, and how the rest is stored."""

    format: QuantFormat
    exclude: Sequence[str]
    """Regular expressions of node names."""
    op_types_to_exclude: Sequence[str] = ()
    op_types_to_quantize: Sequence[str] = ()
    remainder: HighPrecision = "fp32"
    share_concat_scales: bool = True


def quantize_with_ranges(
    source: Path, target: Path, shape: Sequence[int], ranges: Ranges, placement: Placement
) -> None:
    """Write the Q/DQ graph of an FP32 graph.

    Args:
        source: FP32 ONNX file in a folder of its own that may be written to.
        target: the file to write, in an existing folder.
        shape: of the graph's one input.
        ranges: of its activations.
        placement: of Q/DQ pairs.
    """
    graph = onnx.load(source, load_external_data=False).graph
    constants = {x.name for x in graph.initializer}
    input_name = next(x.name for x in graph.input if x.name not in constants)
    shapes = _ShapesOnly({input_name: np.zeros(shape, dtype=np.float32)})
    with _quiet(), _calibrated_by(ranges):
        from modelopt.onnx.quantization import quantize

        quantize(
            str(source),
            quantize_mode=placement.format,
            calibration_method="max",
            calibration_data_reader=shapes,
            calibration_eps=["cpu"],
            op_types_to_quantize=list(placement.op_types_to_quantize) or None,
            op_types_to_exclude=list(placement.op_types_to_exclude) or None,
            nodes_to_exclude=list(placement.exclude),
            high_precision_dtype=placement.remainder,
            passes=["concat_elimination"] if placement.share_concat_scales else [],
            output_path=str(target),
            log_level="WARNING",
        )


class _ShapesOnly:
    """A reader of one zero image: ModelOpt looks at the shapes of products that it gives.

    No range comes from it: the calibrator that would read it is replaced.
    """

    def __init__(self, feed: Mapping[str, npt.NDArray[np.float32]]) -> None:
        self._feed = dict(feed)

    def get_first(self) -> dict[str, npt.NDArray[np.float32]]:
        return dict(self._feed)

    def get_next(self) -> None:
        return None

    def rewind(self) -> None:
        """Do nothing: there is nothing to read."""


@dataclass(frozen=True)
class _ReadyCalibrator:
    """What ModelOpt takes for a calibrator that has seen all images."""

    ranges: Ranges
    tensors: Sequence[str]
    groups: Mapping[str, frozenset[str]]

    def collect_data(self, reader: object) -> None:
        """Read nothing."""

    def compute_data(self) -> Any:  # noqa: ANN401 - ONNX Runtime's own type
        from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData

        found = {}
        for tensor in self.tensors:
            amax = self.ranges.of(self.groups.get(tensor, {tensor}))
            found[tensor] = TensorData(lowest=-amax, highest=amax)
        return TensorsData(CalibrationMethod.MinMax, found)


@contextlib.contextmanager
def _calibrated_by(ranges: Ranges) -> Iterator[None]:
    """Let ModelOpt's factory of calibrators return ready ones."""
    from modelopt.onnx.quantization import ort_patching

    def factory(
        model: Path, nodes: Sequence[str], *, extra_options: Mapping[str, Any], **_: object
    ) -> _ReadyCalibrator:
        known = set(ranges.statistics.tensors)
        chosen = set(nodes)
        graph = onnx.load(model, load_external_data=False).graph
        read = dict.fromkeys(x for node in graph.node if node.name in chosen for x in node.input)
        groups = extra_options.get("group_qdq_tensors") or {}
        return _ReadyCalibrator(
            ranges,
            [x for x in read if x in known],
            {x: frozenset(group) for x, group in groups.items()},
        )

    original = getattr(ort_patching, _FACTORY)
    setattr(ort_patching, _FACTORY, factory)
    try:
        yield
    finally:
        setattr(ort_patching, _FACTORY, original)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep ModelOpt off standard output; its warnings still reach the root logger.

    One of ONNX Runtime's is dropped: it warns once for every bias that is read through an Identity,
    as TorchScript exports have it, that it cannot quantize it. No bias is quantized here.
    """
    logger = logging.getLogger("modelopt.onnx")
    root = logging.getLogger()
    root.addFilter(_is_no_bias)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.removeFilter(_is_no_bias)
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)


def _is_no_bias(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Expected bias ")
