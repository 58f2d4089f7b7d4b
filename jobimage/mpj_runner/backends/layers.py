"""Count what an engine runs in 8 bits, from the layers read back from it."""

from typing import Final

from mpj_runner.contract.files import EngineLayer, EngineLayers
from mpj_runner.contract.result import Layers

NAME_LIMIT: Final = 1024
NOTE_LIMIT: Final = 1024

_OPENVINO: Final = "Convolution Deconvolution FullyConnected MatMul"
# ONNX and ONNX Runtime; TensorRT's layers are named by the ONNX operator that they run.
_ONNX: Final = (
    "Conv ConvTranspose FusedConv NhwcFusedConv NhwcConv QLinearConv QLinearConvTranspose "
    "ConvInteger Gemm QGemm FusedGemm FusedMatMul QLinearMatMul MatMulInteger "
    "MatMulIntegerToFloat TransposeMatMul"
)
PRODUCTS: Final = frozenset((*_OPENVINO.split(), *_ONNX.split()))
"""Convolutions and matrix products in the backends' own words."""
_EIGHT_BITS: Final = ("i8", "u8", "int8", "uint8", "fp8", "f8", "float8")


def layer(name: str, kind: str, precision: str) -> EngineLayer:
    """Return a layer; a fused layer's name may be long and is cut."""
    return EngineLayer(name=name[:NAME_LIMIT] or kind, kind=kind, precision=precision.lower())


def is_product(item: EngineLayer) -> bool:
    """Tell whether a layer is a convolution or a matrix product."""
    return item.kind.partition(" ")[0] in PRODUCTS


def is_eight_bits(item: EngineLayer) -> bool:
    """Tell whether a layer computes on 8-bit numbers."""
    return item.precision.startswith(_EIGHT_BITS)


def count(layers: EngineLayers) -> Layers:
    """Return how many convolutions and matrix products there are, and how many run in 8 bits."""
    products = [item for item in layers.layers if is_product(item)]
    return Layers(total=len(products), quantized=sum(map(is_eight_bits, products)))
