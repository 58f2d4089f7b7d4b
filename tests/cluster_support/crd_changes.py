"""What may change of a job that runs, and what may not."""

from rest import Json

INT8 = {"name": "int8", "ptq": {}}
# Old spec, new spec; both on top of BASE. What is refused names the field and how to go on.
CHANGES: dict[str, list[tuple[str, Json, Json]]] = {
    f"spec.{field}": [
        ("changed", {f"{field}.{member}": old}, {f"{field}.{member}": new}),
        ("added to", {}, {f"{field}.{member}": new}),
        ("removed from", {f"{field}.{member}": old}, {}),
    ]
    for field, member, old, new in (
        ("model", "classes", ["car"], ["bus"]),
        ("calibration", "seed", 1, 2),
        ("validation", "split", "a", "b"),
        ("target", "batchSize", 2, 4),
    )
}
CHANGES |= {
    "spec.candidates": [
        ("changed", {"candidates": [INT8]}, {"candidates": [{"name": "int8", "autoCast": {}}]}),
        ("added", {}, {"candidates": [INT8]}),
        ("removed", {"candidates": [INT8]}, {}),
    ],
    "spec.search": [
        ("changed", {"search.format": "int8"}, {"search.format": "fp8"}),
        ("lowered", {"search.maxTrials": 3}, {"search.maxTrials": 2}),
        ("added", {}, {"search": {}}),
        ("removed", {"search": {}}, {}),
    ],
    "spec.storage": [
        ("changed", {}, {"storage.uri": "s3://other"}),
        ("added to", {}, {"storage.region": "r"}),
        ("removed from", {"storage.region": "r"}, {}),
    ],
    "spec.resources": [
        ("changed", {"resources.cpu.limits": {"cpu": 1}}, {"resources.cpu.limits": {"cpu": 2}}),
        ("added", {}, {"resources.cpu.limits": {"cpu": 1}}),
        ("removed", {"resources.cpu.limits": {"cpu": 1}}, {}),
    ],
    "spec.podOverrides": [
        ("changed", {"podOverrides.image": "a"}, {"podOverrides.image": "b"}),
        ("added", {}, {"podOverrides.image": "a"}),
        ("removed", {"podOverrides.image": "a"}, {}),
    ],
}
PAUSED = ("spec.storage", "spec.resources", "spec.podOverrides")
STARTED = {"status": {"startTime": "2026-01-01T00:00:00Z"}}
FREE = [
    ("search.maxTrials", {"search.maxTrials": 2}, {"search.maxTrials": 3}),
    ("objective", {}, {"objective.minSpeedup": "1.5"}),
    ("parallelism", {}, {"parallelism": 5}),
    ("suspend", {}, {"suspend": True}),
    ("backoffLimit", {}, {"backoffLimit": 1}),
    ("activeDeadlineSeconds", {}, {"activeDeadlineSeconds": 60}),
    ("unitDeadlineSeconds", {"unitDeadlineSeconds": 60}, {}),
    ("ttlSecondsAfterFinished", {}, {"ttlSecondsAfterFinished": 60}),
]
