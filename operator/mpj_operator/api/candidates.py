"""The precision assignments that a job builds and judges."""

from typing import Annotated, Final, Literal

from pydantic import Field

from mpj_operator.api.rules import Rule, Ruled, exactly_one, when
from mpj_operator.api.scalars import EffectiveBits
from mpj_operator.api.source import Source
from mpj_runner.contract.base import Name
from mpj_runner.contract.quantization import AutoCast, AutoQuantize, Ptq
from mpj_runner.contract.steps import Precision

RESERVED: Final = ("prepare", "reference", "baseline", "calibrate", "score", "final", "report")
"""Names of units; besides, whatever starts with ``search-`` is a trial."""
_BITS_ROOM: Final = 6
"""Characters of the longest suffix that effectiveBits append: ``-15-75``."""
_NAME_ROOM: Final = 20 - _BITS_ROOM


class PtqCandidate(Ptq):
    """Quantize after training; the ranges of all candidates come from one calibration."""

    exclude_from: Name | None = None
    """Name of an autoCast candidate: nodes that it keeps in FP32 are not quantized either."""


class AutoQuantizeCandidate(AutoQuantize, Ruled):
    """One candidate for each budget of bits; layers are scored once for all of them."""

    effective_bits: Annotated[tuple[EffectiveBits, ...], Field(min_length=1, max_length=16)] = (
        9.0,
        11.0,
        13.0,
    )
    """Budgets: bits a weight on average, 8 to 16 where 16 is unquantized. The candidate aq with
    budgets 9 and "9.5" becomes aq-9 and aq-9-5."""

    rules = (
        Rule(
            message="must be onnx for fp8: ModelOpt's torch export quantizes every layer in fp8",
            field="realization",
            cel="self.realization != 'torch' || self.format != 'fp8'",
            broken=lambda a: when(a.realization == "torch" and a.format == "fp8", "realization"),
        ),
    )


class OnnxCandidate(Source):
    """Bring your own: a finished ONNX graph (QAT, another tool), judged by the same proof."""


class Candidate(Ruled):
    """One precision assignment: a name, and exactly one way to make it."""

    name: Name
    """A DNS label of at most 20 characters, unique in the job; names of units are reserved."""
    auto_cast: AutoCast | None = None
    """Lower to FP16 or BF16 where values allow it."""
    ptq: PtqCandidate | None = None
    """Quantize to 8 bits after training."""
    auto_quantize: AutoQuantizeCandidate | None = None
    """Quantize the layers that sensitivity scores choose under a budget of bits."""
    onnx: OnnxCandidate | None = None
    """A graph of your own."""

    rules = (
        exactly_one("auto_cast", "ptq", "auto_quantize", "onnx"),
        Rule(
            message=f"is reserved: {', '.join(RESERVED)} and search-* are names of units",
            field="name",
            cel=f"!(self.name in {list(RESERVED)}) && !self.name.startsWith('search-')",
            broken=lambda c: when(c.name in RESERVED or c.name.startswith("search-"), "name"),
        ),
        Rule(
            message=f"must be at most {_NAME_ROOM} characters: the bits are appended to it",
            field="name",
            cel=f"!has(self.autoQuantize) || self.name.size() <= {_NAME_ROOM}",
            broken=lambda c: when(c.auto_quantize is not None and len(c.name) > _NAME_ROOM, "name"),
        ),
    )

    @property
    def kind(self) -> Literal["autoCast", "ptq", "autoQuantize", "onnx"]:
        """Say which member is set."""
        if self.auto_cast is not None:
            return "autoCast"
        if self.ptq is not None:
            return "ptq"
        return "autoQuantize" if self.auto_quantize is not None else "onnx"

    @property
    def precision(self) -> Precision:
        """Return what its engine is built as; a graph of one's own may hold anything."""
        if self.auto_cast is not None:
            return self.auto_cast.low_precision_type
        quantizer = self.ptq or self.auto_quantize
        return quantizer.format if quantizer is not None else "mixed"

    @property
    def is_quantized(self) -> bool:
        """Say whether it must beat the baseline on speed."""
        return self.auto_cast is None

    @property
    def bits(self) -> float | None:
        """Return the one budget of an expanded autoQuantize candidate, else None."""
        return self.auto_quantize.effective_bits[0] if self.auto_quantize is not None else None


def bits_name(name: str, bits: float) -> str:
    """Name the candidate of one budget: aq and 9.5 give aq-9-5."""
    return f"{name}-{bits:g}".replace(".", "-")
