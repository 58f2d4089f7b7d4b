"""The demo's training and its model on a real NVIDIA GPU."""

from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.gpu
DEMO = Path(__file__).parents[2] / "examples/demo"


@pytest.fixture(autouse=True)
def _demo_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEMO))


def test_training_learns_in_bfloat16():
    import detector
    import loss
    import train

    torch.manual_seed(0)
    device = torch.device("cuda")
    data = train.collect(map(train.example, range(128)), 128, device)
    model = detector.build()
    train.set_priors(model)
    model = model.to(device).to(memory_format=torch.channels_last)
    targets = loss.Targets(data.boxes, data.labels.clamp(min=0), data.labels >= 0)

    def value():
        with torch.no_grad():
            return loss.detection_loss(model.train()(data.images.float() / 255), targets).item()

    before = value()
    optimizer = train.make_optimizer(model, 2e-3, 0.02)
    average = train.train(model, optimizer, data, epochs=15, batch=32)
    assert value() < 0.8 * before
    assert all(p.isfinite().all() for p in average.parameters())


def test_the_gpu_computes_what_the_cpu_computes(monkeypatch):
    import detector

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = detector.build()
    model.load_state_dict(torch.load(DEMO / "detector.pt", weights_only=True))
    model.eval()
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(image)
        got = model.cuda()(image.cuda()).cpu()
    torch.testing.assert_close(got[:, 4:], expected[:, 4:], atol=1e-3, rtol=0)
