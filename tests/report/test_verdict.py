"""The verdict in plain words."""

import pytest

from mpj_runner.report.verdict import verdict

GPU = {"baseline_precision": "fp16"}


@pytest.mark.parametrize(
    ("drop", "half", "words"),
    [
        (0.003, 0.001, "gives up 0.0030 mAP"),
        (0.001, 0.002, "loses no measurable mAP"),
        (-0.004, 0.001, "gains 0.0040 mAP"),
    ],
)
def test_a_winner_is_told_with_what_it_costs(make, drop, half, words):
    winner = make.result("int8", 1.7, drop, map_drop=make.interval(drop, half))
    said = verdict(make.report(winner))
    assert said.headline == f"int8 runs 1.70\u00d7 as fast as the FP32 baseline and {words}."
    assert said.detail.startswith("With 95 % confidence the speed-up is 1.67 to 1.73\u00d7 and the")
    assert said.detail.endswith("; a drop of up to 0.005 was allowed.")


def test_a_winner_whose_figures_are_missing_is_still_named(make):
    said = verdict(make.report(make.result("mine", None, None)))
    assert said.headline == "mine wins and keeps its mAP."
    assert said.detail == "a drop of up to 0.005 was allowed."


@pytest.mark.parametrize(
    ("best", "states", "headline"),
    [
        ("baseline", ["Rejected", "Failed"],
         "Ship the FP16 baseline: no candidate was both accurate and fast enough."),
        ("reference", ["Rejected"],
         "Ship the FP32 reference: no candidate was both accurate and fast enough."),
        ("baseline", ["Accepted"],
         "Ship the FP16 baseline: it is the fastest engine within the allowed drop."),
        ("baseline", [],
         "Ship the FP16 baseline: it is the fastest engine within the allowed drop."),
    ],
)  # fmt: skip
def test_nobody_wins(make, best, states, headline):
    candidates = [make.result(f"c{i}", 1.2, 0.1, state=s) for i, s in enumerate(states)]
    made = make.report(*candidates, best=best)
    made = made.model_copy(update={"objective": made.objective.model_copy(update=GPU)})
    assert verdict(made).headline == headline
    assert verdict(made).detail == "A drop of up to 0.005 was allowed."
