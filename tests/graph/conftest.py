"""What the tests of legalisation begin with."""

import onnx
import pytest
from quantized import quantized
from small_detector import small_detector


@pytest.fixture(scope="module")
def signed() -> onnx.ModelProto:
    """Return the small detector with signed pairs, its weights kept in float before a quantizer."""
    return quantized(small_detector())
