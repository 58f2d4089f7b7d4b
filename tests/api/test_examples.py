"""Every example is a job that both `mpj` and the API server take."""

from pathlib import Path

import pytest
import yaml

from mpj_operator.api.load import validate_all

ROOT = Path(__file__).parents[2]
JOBS = sorted(
    p for p in (ROOT / "examples").rglob("*.yaml") if "kind: MixedPrecisionJob" in p.read_text()
)


@pytest.mark.parametrize("path", JOBS, ids=lambda p: str(p.relative_to(ROOT / "examples")))
def test_an_example_is_valid(path, api_server):
    text = path.read_text()
    local = "storage:" not in text
    for (job, problems), document in zip(
        validate_all(text, local=local), yaml.safe_load_all(text), strict=True
    ):
        assert problems == []
        assert job.spec.expanded()
        if not local:
            assert api_server.accept(document) == []


def test_there_is_one_for_each_kind_of_model():
    jobs = [job for p in JOBS for job, _ in validate_all(p.read_text(), local=True)]
    formats = {job.spec.model.resolved_format for job in jobs}
    assert formats == {"ultralytics", "onnx", "torch"}
