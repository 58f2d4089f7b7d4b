"""Taps of a head, and what is measured on them."""

import numpy as np
import pytest
import torch
from small_detector import CLASSES, small_detector

from mpj_runner.sensitivity.heads import RandomProjection, Tap, joint_logits, taps_of


def divergence(before: torch.Tensor, after: torch.Tensor) -> float:
    """Return the sum of divergences over the last dimension, as ModelOpt computes it."""
    target, found = before.log_softmax(-1), after.log_softmax(-1)
    return float(torch.nn.functional.kl_div(found, target, reduction="sum", log_target=True))


@pytest.mark.parametrize(
    ("dfl", "kinds"),
    [
        pytest.param("conv", {"class", "bins"}, id="DFL as a convolution"),
        pytest.param("matmul", {"class", "bins"}, id="DFL as a product"),
        pytest.param("none", {"class", "distance"}, id="no DFL"),
    ],
)
@pytest.mark.parametrize("end_to_end", [False, True])
def test_taps_lie_before_the_decode(dfl, kinds, end_to_end):
    taps = taps_of(small_detector(dfl, end_to_end=end_to_end), CLASSES)
    assert {tap.kind for tap in taps.distributions} == kinds
    assert taps.raw == tuple(
        f"head.{i}.{branch}.1/Conv_out" for i in (0, 1) for branch in ("box", "cls")
    )


def test_class_logits_diverge_as_their_scores_do():
    before, after = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    tap = [Tap("t", "class", 1)]
    p, q = before.sigmoid(), after.sigmoid()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()
    found = divergence(joint_logits([before], tap), joint_logits([after], tap))
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_a_changed_distance_diverges_by_half_its_square():
    before = torch.full((1, 4, 6), 7.0)
    tap = [Tap("t", "distance", 1)]
    found = divergence(joint_logits([before], tap), joint_logits([before + 0.5], tap))
    assert found == pytest.approx(24 * 0.5 * 0.5**2, rel=1e-3)


def test_divergences_of_all_taps_add_up():
    generator = torch.Generator().manual_seed(0)
    taps = [Tap("a", "class", 1), Tap("b", "bins", 2), Tap("c", "distance", 1)]
    shapes = [(1, 3, 5), (1, 4, 16, 5), (1, 4, 5)]
    before = [torch.randn(s, generator=generator) for s in shapes]
    after = [x + 0.1 * torch.randn(x.shape, generator=generator) for x in before]
    parts = [
        divergence(joint_logits([x], [tap]), joint_logits([y], [tap]))
        for x, y, tap in zip(before, after, taps, strict=True)
    ]
    together = divergence(joint_logits(before, taps), joint_logits(after, taps))
    assert together == pytest.approx(sum(parts), rel=1e-3)
    assert min(parts) > 0


def test_projection_measures_squared_sensitivity_in_units_of_spread():
    # y = k x, so the squared gradient with respect to x is k^2 / std(y)^2 for each element.
    x = torch.randn(64, 500, generator=torch.Generator().manual_seed(1)).requires_grad_()
    for gain in (0.01, 1.0, 100.0):
        (grad,) = torch.autograd.grad(RandomProjection(seed=0)((gain * x,), x), x)
        assert float(grad.square().mean()) == pytest.approx(1 / float(x.detach().var()), rel=1e-3)


def test_projection_repeats_with_its_seed_and_differs_from_batch_to_batch():
    y = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(1))
    first, again, other = RandomProjection(3), RandomProjection(3), RandomProjection(4)
    values = [float(first(y, y)), float(first(y, y))]
    assert values == [float(again(y, y)), float(again(y, y))]
    assert len({*values, float(other(y, y))}) == 3
    assert np.isfinite(float(first(torch.zeros(1, 8), y)))
