"""The front of speed and accuracy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpj_runner.contract.result import Interval, Result
from mpj_runner.report.pareto import Point, allowed_drop, front, points


def point(name, speedup, drop):
    exact = [Interval(value=v, low=v, high=v) for v in (speedup, drop)]
    return Point(name, *exact, Result(name=name))


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        pytest.param({}, (), id="nothing"),
        pytest.param({"a": (1, 0)}, ("a",), id="one"),
        pytest.param({"a": (1, 0), "b": (2, 0.01)}, ("b", "a"), id="fastest first"),
        pytest.param({"a": (1, 0), "b": (2, 0)}, ("b",), id="faster at the same drop"),
        pytest.param({"a": (2, 0.1), "b": (2, 0)}, ("b",), id="smaller drop at the same speed"),
        pytest.param({"b": (2, 0), "a": (2, 0)}, ("a", "b"), id="equals stay, by name"),
        pytest.param({"a": (1, 0), "b": (2, -0.1), "c": (3, 0.2)}, ("c", "b"), id="a gain wins"),
        pytest.param({"a": (3, 0), "b": (2, 0.1), "c": (1, 0.2)}, ("a",), id="one beats all"),
    ],
)
def test_the_front(figures, expected):
    assert front(point(n, *f) for n, f in figures.items()) == expected


_figures = st.tuples(st.integers(0, 6), st.integers(-3, 3))


@given(st.lists(_figures, max_size=12))
def test_the_front_is_all_that_nobody_beats(figures):
    among = [point(f"p{i}", float(s), float(d)) for i, (s, d) in enumerate(figures)]
    unbeaten = {
        p.name
        for p, (s, d) in zip(among, figures, strict=True)
        if not any(s2 >= s and d2 <= d and (s2 > s or d2 < d) for s2, d2 in figures)
    }
    assert set(front(among)) == unbeaten
    assert front(reversed(among)) == front(among)


def test_engines_without_both_figures_are_not_on_the_plane(make):
    made = make.report(
        make.result("int8", 1.7, 0.001),
        make.result("slow", None, 0.0),
        make.result("blind", 2.0, None),
        make.result("broken", 2.0, 0.0, state="Failed"),
    )
    assert [p.name for p in points(made)] == ["reference", "baseline", "int8"]
    assert made.pareto == ("int8", "baseline", "reference")


@pytest.mark.parametrize(
    ("objective", "limit"),
    [
        ({"drop_type": "Absolute"}, 0.005),
        ({"drop_type": "Relative"}, 0.003),
        ({"drop_type": "Relative", "metric": "mAP50"}, 0.004),
    ],
)
def test_a_relative_drop_is_a_share_of_the_references_metric(make, objective, limit):
    made = make.report(make.result("int8", 1.7, 0.001))
    asked = made.objective.model_copy(update=objective)
    assert allowed_drop(made.model_copy(update={"objective": asked})) == pytest.approx(limit)
