"""Models, data sets and storage that are refused: what they are, and where they lie."""

# Columns: a sentence, changes to a valid document, the field at fault, the words.
SOURCES = [
    (
        "a state dict without its module",
        {"spec.model.uri": "s3://models/yolo.pth"},
        "spec.model.factory",
        "is required for torch models: module:function that builds the nn.Module",
    ),
    (
        "a torch model without its module",
        {"spec.model.format": "torch"},
        "spec.model.factory",
        "is required for torch models: module:function that builds the nn.Module",
    ),
    (
        "a module for an ONNX file",
        {"spec.model.uri": "s3://models/yolo.onnx", "spec.model.factory": "m:f"},
        "spec.model.factory",
        "is for torch models only: remove it, or set format to torch",
    ),
    (
        "a module for an Ultralytics checkpoint",
        {"spec.model.format": "ultralytics", "spec.model.factory": "m:f"},
        "spec.model.factory",
        "is for torch models only: remove it, or set format to torch",
    ),
    (
        "a model's suffix says nothing",
        {"spec.model.uri": "s3://models/yolo"},
        "spec.model.format",
        "must be ultralytics, torch or onnx: the uri ends in none of .pt, .pth, .onnx",
    ),
    (
        "a scheme that is not supported",
        {"spec.model.uri": "https://example.com/yolo.pt"},
        "spec.model.uri",
        "https:// is not supported: copy it to s3://bucket/key or pvc://claim/path",
    ),
    (
        "a local path in the cluster",
        {"spec.model.uri": "models/yolo.pt"},
        "spec.model.uri",
        "must be s3://bucket/key or pvc://claim/path: only `mpj run` reads local files",
    ),
    (
        "a bucket without a name",
        {"spec.storage.uri": "s3:///key"},
        "spec.storage.uri",
        "must be s3://bucket/key or pvc://claim/path",
    ),
    (
        "a key that climbs out",
        {"spec.storage.uri": "s3://artifacts/a/../../b"},
        "spec.storage.uri",
        "must not lead out of its folder with ..",
    ),
    (
        "a claim's path that climbs out",
        {"spec.calibration.uri": "pvc://data/.."},
        "spec.calibration.uri",
        "must not lead out of its folder with ..",
    ),
    (
        "no storage",
        {"spec.storage": ...},
        "spec.storage",
        "is required: where blobs, engines and reports are kept",
    ),
    (
        "a key without KMS",
        {"spec.storage.serverSideEncryption": {"kmsKeyID": "k"}},
        "spec.storage.serverSideEncryption.kmsKeyID",
        "needs algorithm aws:kms",
    ),
]
