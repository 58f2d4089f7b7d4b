"""The demo's job file: valid, and in step with the data and the model beside it."""

import json

from mpj_operator.api.load import validate


def test_the_job_fits_what_lies_beside_it(demo):
    import detector
    import scenes

    job, problems = validate((demo / "job.yaml").read_text(), local=True)
    assert problems == []
    assert job.metadata.name == "demo"
    assert (demo / job.spec.model.uri).is_file()
    assert job.spec.model.factory == f"{detector.__name__}:{detector.build.__name__}"
    assert job.spec.model.classes == scenes.NAMES
    for source in (job.spec.calibration, job.spec.validation):
        assert (demo / source.uri / source.split).is_dir()
    annotations = demo / job.spec.validation.uri / job.spec.validation.annotations
    names = [c["name"] for c in json.loads(annotations.read_text())["categories"]]
    assert tuple(names) == job.spec.model.classes
