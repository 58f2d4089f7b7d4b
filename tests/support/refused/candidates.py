"""Candidates that are refused: their names, their budgets, and what a backend can't take."""

from refused.build import CPU, INT8, candidates

# Columns: a sentence, changes to a valid document, the field at fault, the words.
CANDIDATES = [
    (
        "no candidates are listed",
        candidates(),
        "spec.candidates",
        "must have at least 1 item(s)",
    ),
    (
        "a candidate's name is no DNS label",
        candidates({"name": "Int8_max", "ptq": {}}),
        "spec.candidates[0].name",
        "must be a DNS label: lower-case letters, digits and - inside",
    ),
    (
        "a candidate's name is too long",
        candidates({"name": "a" * 21, "ptq": {}}),
        "spec.candidates[0].name",
        "must be at most 20 characters long",
    ),
    (
        "two candidates have one name",
        candidates(INT8, INT8),
        "spec.candidates[1].name",
        "must be unique",
    ),
    (
        "a candidate has the name of a unit",
        candidates({"name": "final", "ptq": {}}),
        "spec.candidates[0].name",
        "is reserved: prepare, reference, baseline, calibrate, score, final, report and search-* "
        "are names of units",
    ),
    (
        "a candidate has the name of a trial",
        candidates({"name": "search-1", "ptq": {}}),
        "spec.candidates[0].name",
        "is reserved: prepare, reference, baseline, calibrate, score, final, report and search-* "
        "are names of units",
    ),
    (
        "a candidate says nothing",
        candidates({"name": "int8"}),
        "spec.candidates[0]",
        "exactly one of autoCast, ptq, autoQuantize and onnx must be set",
    ),
    (
        "a candidate says two things",
        candidates({"name": "int8", "ptq": {}, "autoCast": {}}),
        "spec.candidates[0]",
        "exactly one of autoCast, ptq, autoQuantize and onnx must be set",
    ),
    (
        "nodes are excluded from a candidate that is not there",
        candidates({"name": "int8", "ptq": {"excludeFrom": "fp16"}}),
        "spec.candidates[0].ptq.excludeFrom",
        "must name an autoCast candidate of this job",
    ),
    (
        "nodes are excluded from a candidate that casts nothing",
        candidates(INT8, {"name": "b", "ptq": {"excludeFrom": "int8"}}),
        "spec.candidates[1].ptq.excludeFrom",
        "must name an autoCast candidate of this job",
    ),
    (
        "a budget is too small",
        candidates({"name": "aq", "autoQuantize": {"effectiveBits": [4]}}),
        "spec.candidates[0].autoQuantize.effectiveBits[0]",
        'must be between 8 and 16, with at most two decimals, such as 11 or "9.5"',
    ),
    (
        "a budget is too large",
        candidates({"name": "aq", "autoQuantize": {"effectiveBits": ["16.5"]}}),
        "spec.candidates[0].autoQuantize.effectiveBits[0]",
        'must be between 8 and 16, with at most two decimals, such as 11 or "9.5"',
    ),
    (
        "a budget's decimal is not quoted",
        candidates({"name": "aq", "autoQuantize": {"effectiveBits": [9.5]}}),
        "spec.candidates[0].autoQuantize.effectiveBits[0]",
        'must be a quoted decimal: write "9.5" instead of 9.5',
    ),
    (
        "budgets are one number",
        candidates({"name": "aq", "autoQuantize": {"effectiveBits": 11}}),
        "spec.candidates[0].autoQuantize.effectiveBits",
        "must be a list: write [11] instead of 11",
    ),
    (
        "a name has no room for its bits",
        candidates({"name": "a" * 15, "autoQuantize": {}}),
        "spec.candidates[0].name",
        "must be at most 14 characters: the bits are appended to it",
    ),
    (
        "budgets come to too many candidates",
        candidates(
            *(
                {"name": f"a{i}", "autoQuantize": {"effectiveBits": list(range(8, 17))}}
                for i in range(8)
            )
        ),
        "spec.candidates",
        "must come to at most 64 after effectiveBits are expanded",
    ),
    (
        "fp8 on a CPU backend",
        CPU | candidates({"name": "fp8", "ptq": {"format": "fp8"}}),
        "spec.candidates[0].ptq.format",
        "must be int8: fp8 needs backend tensorrt or tensorrt-rtx",
    ),
    (
        "fp8 budgets on a CPU backend",
        CPU | candidates({"name": "fp8", "autoQuantize": {"format": "fp8"}}),
        "spec.candidates[0].autoQuantize.format",
        "must be int8: fp8 needs backend tensorrt or tensorrt-rtx",
    ),
    (
        "a search for fp8 on a CPU backend",
        CPU | {"spec.search": {"format": "fp8"}},
        "spec.search.format",
        "must be int8: fp8 needs backend tensorrt or tensorrt-rtx",
    ),
    (
        "bf16 on ONNX Runtime",
        {"spec.target.backend": "onnxruntime"}
        | candidates({"name": "bf16", "autoCast": {"lowPrecisionType": "bf16"}}),
        "spec.candidates[0].autoCast.lowPrecisionType",
        "must be fp16: ONNX Runtime has no bf16 convolutions on CPUs",
    ),
    (
        "fp8 through torch's export",
        candidates({"name": "aq", "autoQuantize": {"format": "fp8", "realization": "torch"}}),
        "spec.candidates[0].autoQuantize.realization",
        "must be onnx for fp8: ModelOpt's torch export quantizes every layer in fp8",
    ),
]
