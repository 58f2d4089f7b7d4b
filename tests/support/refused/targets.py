"""Settings that are refused for what the job runs on: the target and the pods."""

from refused.build import CPU

# Columns: a sentence, changes to a valid document, the field at fault, the words.
TARGETS = [
    (
        "threads of a GPU",
        {"spec.target.threads": 4},
        "spec.target.threads",
        "is for openvino and onnxruntime only: remove it",
    ),
    (
        "builder settings of a CPU",
        CPU | {"spec.target.builderOptimizationLevel": 3},
        "spec.target.builderOptimizationLevel",
        "is for tensorrt only: remove it",
    ),
    (
        "a workspace on a CPU",
        CPU | {"spec.target.workspaceSize": "4Gi"},
        "spec.target.workspaceSize",
        "is for tensorrt and tensorrt-rtx only: remove it",
    ),
    (
        "compute capabilities of an engine that is tied to its GPU",
        {"spec.target.computeCapabilities": ["8.9"]},
        "spec.target.computeCapabilities",
        "is for tensorrt-rtx only: remove it",
    ),
    (
        "a variable of the operator",
        {"spec.podOverrides.env": [{"name": "MPJ_STORE", "value": "x"}]},
        "spec.podOverrides.env[0].name",
        "must not start with MPJ_: those are set by the operator",
    ),
    (
        "a variable with two values",
        {
            "spec.podOverrides.env": [
                {
                    "name": "A",
                    "value": "x",
                    "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}},
                }
            ]
        },
        "spec.podOverrides.env[0]",
        "exactly one of value and valueFrom must be set",
    ),
    (
        "a variable twice",
        {"spec.podOverrides.env": [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]},
        "spec.podOverrides.env[1].name",
        "must be unique",
    ),
    (
        "a label of the operator",
        {"spec.podOverrides.labels": {"mixedprecision.dev/unit": "x"}},
        "spec.podOverrides.labels.mixedprecision.dev/unit",
        "must not start with mixedprecision.dev/: those are set by the operator",
    ),
    (
        "a pod field that is not on the list",
        {"spec.podOverrides.hostNetwork": True},
        "spec.podOverrides.hostNetwork",
        "unknown field: known are affinity, annotations, cacheVolumeClaimName, env, image, "
        "imagePullSecrets, labels, nodeSelector, priorityClassName, runtimeClassName, "
        "serviceAccountName, tolerations",
    ),
]
