"""How numbers are written for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpj_runner.contract.result import Interval
from mpj_runner.report import numbers


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.score(0.64341), "0.6434"),
        (numbers.score(-0.0012), "\u22120.0012"),
        (numbers.score(-0.00001), "0.0000"),
        (numbers.ratio(1.704), "1.70\u00d7"),
        (numbers.milliseconds(24.13), "24.1 ms"),
        (numbers.milliseconds(0.5712), "0.571 ms"),
        (numbers.milliseconds(1234.0), "1234 ms"),
        (numbers.milliseconds(0.0), "0 ms"),
        (numbers.size(812), "812 B"),
        (numbers.size(1400), "1.4 kB"),
        (numbers.size(2_980_000), "2.98 MB"),
        (numbers.size(12_000_000_000), "12 GB"),
        (numbers.seconds(4.25), "4.2 s"),
        (numbers.seconds(247), "4 min 7 s"),
        (numbers.span(Interval(value=0, low=-0.0004, high=0.0036), 4), "\u22120.0004 to 0.0036"),
        (numbers.ticks(0.93, 1.92, 6), (1.0, 1.2, 1.4, 1.6, 1.8)),
        (numbers.ticks(-0.0031, 0.0262, 5), (0.0, 0.01, 0.02)),
    ],
)
def test_numbers(written, expected):
    assert written == expected


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e3), st.integers(2, 8))
def test_ticks_are_inside_and_few(low, length, about):
    found = numbers.ticks(low, low + length, about)
    assert len(found) <= about + 1
    assert all(low - 1e-6 * length - 1e-9 <= t <= low + length * (1 + 1e-6) + 1e-9 for t in found)
