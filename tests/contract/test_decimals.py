"""Decimals survive the way through a resource whatever the measurement gave."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpj_runner.contract.base import DECIMAL_PATTERN, DecimalString, Value, format_decimal


class Measured(Value):
    drop: DecimalString


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(0.0, "0", id="zero"),
        pytest.param(-0.0, "0", id="negative zero"),
        pytest.param(0.005, "0.005", id="a limit"),
        pytest.param(1e-7, "0.0000001", id="no exponent"),
        pytest.param(2.8666319790038288e-05, "0.00002866631979003829", id="too many places"),
        pytest.param(-1e-30, "0", id="smaller than the last place"),
    ],
)
def test_writes_what_the_pattern_takes(value: float, text: str) -> None:
    assert format_decimal(value) == text


@given(st.floats(min_value=-1e11, max_value=1e11))
def test_every_finite_number_comes_back(value: float) -> None:
    assert re.fullmatch(DECIMAL_PATTERN, format_decimal(value))
    there = Measured(drop=value).to_json()
    back = Measured.model_validate(there, context={"resource": True})
    assert back.drop == pytest.approx(value, rel=1e-12, abs=1e-20)
