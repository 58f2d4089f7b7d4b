"""The demo's training: each term of the loss, and that it learns."""

import math

import pytest
import torch


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param([0, 0, 4, 4], 1.0, id="the same box"),
        pytest.param([4, 0, 8, 4], -16 / 80, id="side by side: the centres' distance remains"),
        pytest.param(
            [0, 0, 4, 2],
            0.5
            - 1 / 32
            - (v := 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2) ** 2 / (0.5 + v),
            id="half the height: overlap, distance and aspect",
        ),
    ],
)
def test_complete_iou_is_the_papers(box, expected):
    import loss

    got = loss.complete_iou(torch.tensor([box]).float(), torch.tensor([[0.0, 0.0, 4.0, 4.0]]))
    assert got.item() == pytest.approx(expected, abs=1e-5)


def test_distribution_loss_is_least_where_the_expectation_is_right():
    import loss

    centres = torch.tensor([[5.0, 5.0]])
    boxes = torch.tensor([[[2.75, 3.0, 7.0, 8.5]]])  # sides of 2.25, 2, 2 and 3.5 cells
    sides = torch.full((1, 1, 4, loss.BINS), -30.0)
    for side, distance in enumerate((2.25, 2.0, 2.0, 3.5)):
        below = int(distance)
        sides[0, 0, side, below] = math.log(max(1 - (distance - below), 1e-9))
        sides[0, 0, side, below + 1] = math.log(max(distance - below, 1e-9))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), math.log(2)
    best = loss.distribution_loss(sides, boxes, centres).item()
    assert best == pytest.approx(sum(entropy) / 4, abs=1e-4)
    assert loss.distribution_loss(sides.roll(1, dims=3), boxes, centres).item() > best + 1


def cells():
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()], dim=1) * 8 + 4


def assigned(objects, labels, valid, predictions=None):
    import loss

    centres = cells()
    if predictions is None:
        predictions = torch.cat([centres - 12, centres + 12], dim=1)
    scores = torch.full((1, 64, loss.CLASSES), 0.5)
    targets = loss.Targets(
        torch.tensor([objects]).float(), torch.tensor([labels]), torch.tensor([valid])
    )
    return loss.assign(predictions[None], scores, centres, targets)


def test_an_object_takes_cells_inside_it_and_its_best_is_its_overlap():
    goal = assigned([[8, 8, 32, 32]], [3], [True])
    inside = ((cells() > 8) & (cells() < 32)).all(dim=1)
    assert goal.positive[0].any()
    assert not goal.positive[0][~inside].any()
    best = goal.scores[0].max()
    assert goal.scores[0][:, 3].max() == best
    assert goal.scores[0].sum() == pytest.approx(goal.scores[0][:, 3].sum().item())
    assert best.item() == pytest.approx(1.0, abs=1e-4)  # the middle cell predicts just this box


def test_padding_takes_no_cell():
    goal = assigned([[8, 8, 32, 32], [0, 0, 64, 64]], [3, 0], [True, False])
    assert goal.scores[0][:, 0].sum() == 0
    assert goal.scores[0][:, 3].sum() > 0


def test_an_object_without_a_cell_centre_takes_the_nearest():
    """Its corners lie between four cells' centres, so that no centre is inside."""
    goal = assigned([[14, 14, 18, 18]], [1], [True])
    taken = cells()[goal.positive[0]]
    assert len(taken) > 0
    assert (taken - 16).abs().max() <= 4.5


def test_a_cell_that_two_objects_want_goes_to_the_one_it_overlaps_more():
    small, large = [16, 16, 40, 40], [0, 0, 64, 64]
    goal = assigned([small, large], [1, 2], [True, True])
    middle = (cells() == 28).all(dim=1)
    assert goal.positive[0][middle].all()
    assert goal.boxes[0][middle].tolist() == [small]


def test_cells_without_an_object_weigh_nothing():
    """An image without objects is all background: only the class term is left, and finite."""
    import detector
    import loss

    model = detector.build().train()
    maps = model(torch.rand(1, 3, 64, 64))
    empty = loss.Targets(
        torch.zeros(1, 2, 4),
        torch.zeros(1, 2, dtype=torch.int64),
        torch.zeros(1, 2, dtype=torch.bool),
    )
    value = loss.detection_loss(maps, empty)
    torch.autograd.backward(value)
    assert value.isfinite()
    box_gradient = model.head.boxes[0][-1].weight.grad
    assert box_gradient is not None
    assert box_gradient.abs().max() == 0
    assert model.head.classes[0][-1].weight.grad.abs().max() > 0


def test_training_learns(monkeypatch):
    import detector
    import train

    torch.manual_seed(0)
    monkeypatch.setattr(train, "SIZE", 96)
    data = train.collect(map(train.example, range(8)), 8, torch.device("cpu"))
    assert data.images.shape == (8, 3, 96, 96)
    assert ((data.labels >= 0).sum(dim=1) <= train.MOST_OBJECTS).all()
    model = detector.build()
    train.set_priors(model)
    before = _loss(model, data)
    optimizer = train.make_optimizer(model, 2e-3, 0.0)
    monkeypatch.setattr(train, "AVERAGE", 0.5)
    average = train.train(model, optimizer, data, epochs=10, batch=8)
    assert not average.training
    assert _loss(model, data) < 0.8 * before


def _loss(model, data):
    import loss

    model.train()
    targets = loss.Targets(data.boxes, data.labels.clamp(min=0), data.labels >= 0)
    with torch.no_grad():
        return loss.detection_loss(model(data.images.float() / 255), targets).item()
