"""From the candidates that a spec lists to those that are built."""

from collections.abc import Iterable, Sequence

from mpj_operator.api.candidates import (
    AutoQuantizeCandidate,
    Candidate,
    PtqCandidate,
    bits_name,
)
from mpj_operator.api.target import FORMATS, high_precision, is_cpu
from mpj_runner.contract.quantization import AutoCast, CalibrationMethod, QuantFormat
from mpj_runner.contract.steps import BackendName

MAX_EXPANDED = 64
"""Candidates that one job may build."""


def default_candidates(backend: BackendName) -> tuple[Candidate, ...]:
    """Return what a job tries when its spec lists no candidates.

    CPUs: INT8 with the two best choices of ranges, and two budgets of bits. GPUs: FP16, INT8 on top
    of it with and without the nodes that AutoCast keeps, three budgets, and FP8.
    """
    int8 = Candidate(name="int8", ptq=PtqCandidate())
    if is_cpu(backend):
        return (
            int8,
            Candidate(name="int8-entropy", ptq=PtqCandidate(calibration_method="entropy")),
            Candidate(name="aq", auto_quantize=AutoQuantizeCandidate(effective_bits=(9.0, 11.0))),
        )
    return (
        Candidate(name="fp16", auto_cast=AutoCast()),
        int8,
        Candidate(name="int8-fp16", ptq=PtqCandidate(exclude_from="fp16")),
        Candidate(name="aq", auto_quantize=AutoQuantizeCandidate()),
        *(
            Candidate(name=format_, ptq=PtqCandidate(format=format_))
            for format_ in FORMATS[backend]
            if format_ != "int8"
        ),
    )


def default_method(format_: QuantFormat) -> CalibrationMethod:
    """Return the way to choose ranges that measured best for a format."""
    return "mse" if format_ == "int8" else "max"


def _resolved(candidate: Candidate, backend: BackendName) -> Candidate:
    for member in ("ptq", "auto_quantize"):
        quantizer: PtqCandidate | AutoQuantizeCandidate | None = getattr(candidate, member)
        if quantizer is not None:
            update = {
                "calibration_method": quantizer.calibration_method
                or default_method(quantizer.format),
                "remainder": quantizer.remainder or high_precision(backend),
            }
            return candidate.model_copy(update={member: quantizer.model_copy(update=update)})
    return candidate


def expanded_names(candidates: Iterable[Candidate]) -> tuple[tuple[str, int], ...]:
    """Return the name of each candidate that will be built, with the index of its source."""
    return tuple(
        (name, index)
        for index, c in enumerate(candidates)
        for name in (
            [c.name]
            if c.auto_quantize is None
            else [bits_name(c.name, b) for b in c.auto_quantize.effective_bits]
        )
    )


def expand(candidates: Sequence[Candidate], backend: BackendName) -> tuple[Candidate, ...]:
    """Return one candidate for each engine to build, with every default filled in.

    An autoQuantize candidate becomes one for each budget, named by ``bits_name``.
    """
    made: list[Candidate] = []
    for candidate in (_resolved(c, backend) for c in candidates):
        aq = candidate.auto_quantize
        if aq is None:
            made.append(candidate)
            continue
        made += [
            candidate.model_copy(
                update={
                    "name": bits_name(candidate.name, bits),
                    "auto_quantize": aq.model_copy(update={"effective_bits": (bits,)}),
                }
            )
            for bits in aq.effective_bits
        ]
    return tuple(made)
