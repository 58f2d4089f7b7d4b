"""Values that are wrong by themselves: unknown, missing, of another shape, out of range."""

from refused.build import candidates

# Columns: a sentence, changes to a valid document, the field at fault, the words.
VALUES = [
    ("a field is missing", {"spec.model.uri": ...}, "spec.model.uri", "is required"),
    (
        "a field is misspelt",
        {"spec.objektive": {}},
        "spec.objektive",
        "unknown field: did you mean objective?",
    ),
    (
        "a field stands in the wrong place",
        {"spec.maxAccuracyDrop": "0.01"},
        "spec.maxAccuracyDrop",
        "unknown field: it belongs to spec.objective",
    ),
    (
        "a field is unknown everywhere",
        {"spec.objective.qqq": 1},
        "spec.objective.qqq",
        "unknown field: known are baseline, dropType, maxAccuracyDrop, metric, minSpeedup, "
        "minimize",
    ),
    (
        "a decimal is not quoted",
        {"spec.objective.maxAccuracyDrop": 0.005},
        "spec.objective.maxAccuracyDrop",
        'must be a quoted decimal: write "0.005" instead of 0.005',
    ),
    (
        "a decimal is not a decimal",
        {"spec.objective.maxAccuracyDrop": "0.5%"},
        "spec.objective.maxAccuracyDrop",
        'must be a decimal number in quotes, such as "0.005"',
    ),
    (
        "a drop is given in per cent",
        {"spec.objective.maxAccuracyDrop": "2"},
        "spec.objective.maxAccuracyDrop",
        "must be between 0 and 1",
    ),
    (
        "a threshold is above one",
        {"spec.validation.iouThreshold": "70"},
        "spec.validation.iouThreshold",
        "must be between 0 and 1",
    ),
    (
        "a percentile is a share",
        candidates({"name": "p", "ptq": {"percentile": "0.99999"}}),
        "spec.candidates[0].ptq.percentile",
        "must be between 50 and 100",
    ),
    (
        "a number is text",
        {"spec.parallelism": "2"},
        "spec.parallelism",
        "must be a whole number",
    ),
    ("a number is too small", {"spec.parallelism": 0}, "spec.parallelism", "must be at least 1"),
    ("a number is too large", {"spec.parallelism": 65}, "spec.parallelism", "must be at most 64"),
    (
        "a size does not fit the strides",
        {"spec.model.inputSize": {"height": 650}},
        "spec.model.inputSize.height",
        "must be a multiple of 32",
    ),
    ("a switch is text", {"spec.suspend": "yes"}, "spec.suspend", "must be true or false"),
    (
        "a string is a number",
        {"spec.target.backend": "tensorrt-rtx", "spec.target.computeCapabilities": [8.9]},
        "spec.target.computeCapabilities[0]",
        'must be a string: write "8.9" instead of 8.9',
    ),
    (
        "a list is one value",
        {"spec.model.classes": "car"},
        "spec.model.classes",
        "must be a list: write [car] instead of car",
    ),
    ("a mapping is text", {"spec.target": "tensorrt"}, "spec.target", "must be a mapping"),
    (
        "a word is unknown",
        {"spec.target.backend": "tflite"},
        "spec.target.backend",
        "must be openvino, onnxruntime, tensorrt or tensorrt-rtx",
    ),
    (
        "a format is unknown",
        candidates({"name": "int4", "ptq": {"format": "int4"}}),
        "spec.candidates[0].ptq.format",
        "must be int8 or fp8",
    ),
    (
        "a quantity that is none",
        {"spec.target.workspaceSize": "4 GB"},
        "spec.target.workspaceSize",
        'must be a quantity such as 1, "500m" or "4Gi"',
    ),
    (
        "a quantity that is not quoted",
        {"spec.resources.cpu": {"limits": {"cpu": 0.5}}},
        "spec.resources.cpu.limits.cpu",
        'must be a quoted quantity: write "0.5" instead of 0.5',
    ),
]
