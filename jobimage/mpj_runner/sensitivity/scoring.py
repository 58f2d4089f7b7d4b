"""One run of ModelOpt's search, for its scores."""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

import modelopt.torch.opt as mto
import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.quantization.algorithms import AutoQuantizeGradientSearcher
from onnx import ModelProto
from torch import Tensor

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.quantization import QuantFormat, ScoreMethod
from mpj_runner.sensitivity.heads import RandomProjection, Taps, joint_logits
from mpj_runner.torchgraph.module import GraphModule

CONFIGS: Final[dict[QuantFormat, str]] = {"int8": "INT8_DEFAULT_CFG", "fp8": "FP8_DEFAULT_CFG"}
"""One format a search: two of equal width would get equal scores."""
BITS: Final = 8
FULL_BITS: Final = 16
"""What ModelOpt counts for a layer that is not quantized."""
SEARCH_FILE: Final = "search.pth"
MODEL_FILE: Final = "model.pth"


class Batches(Protocol):
    """Image batches (B, 3, H, W) float32 that can be walked more than once."""

    def __iter__(self) -> Iterator[Tensor]: ...


@dataclass(frozen=True)
class Plan:
    """How many batches each phase takes."""

    calibration: int
    scoring: int
    seed: int


def search(
    model: ModelProto,
    taps: Taps,
    batches: Batches,
    plan: Plan,
    precision: tuple[QuantFormat, ScoreMethod],
    folder: Path,
) -> None:
    """Score every layer and keep what ModelOpt found.

    Args:
        model: the FP32 graph.
        taps: the tensors that sensitivity is measured on.
        batches: calibration images.
        plan: the number of batches.
        precision: format and method.
        folder: receives ``search.pth`` (ModelOpt's search state) and ``model.pth`` (``mto.save`` of
            the calibrated model with every searched layer quantized).

    Raises:
        UserError: the graph cannot be rebuilt, or the method cannot score it.
    """
    quant_format, method = precision
    if method == "kl_div" and not any(tap.kind == "class" for tap in taps.distributions):
        raise UserError(
            "autoQuantize method kl_div needs class logits before a sigmoid, and the model has"
            " none: set spec.candidates[].autoQuantize.method: gradient"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = GraphModule(model).to(device)
    module.select(taps.raw if method == "gradient" else [tap.tensor for tap in taps.distributions])
    unreached = sorted(set(module.layer_nodes) - set(module.computed))

    def forward(searched: Any, batch: Tensor) -> Any:  # noqa: ANN401 - ModelOpt's signature
        if method == "gradient":
            return searched(batch.to(device).requires_grad_())
        y = searched(batch.to(device))
        return joint_logits(y if isinstance(y, tuple) else (y,), taps.distributions)

    with quiet():
        searched, _ = mtq.auto_quantize(
            module,
            # The tightest budget: the saved model has every searched layer quantized.
            constraints={"effective_bits": least_bits(module, unreached)},
            quantization_formats=[CONFIGS[quant_format]],
            data_loader=batches,
            forward_step=forward,
            loss_func=RandomProjection(plan.seed) if method == "gradient" else None,
            disabled_layers=unreached or None,
            num_calib_steps=plan.calibration,
            num_score_steps=plan.scoring,
            method=method,
            checkpoint=str(folder / SEARCH_FILE),
        )
        mto.save(searched, folder / MODEL_FILE)


def least_bits(module: GraphModule, unreached: list[str]) -> float:
    """Return the average bits of a weight when every layer but these is quantized."""
    sizes = {name: _elements(module, name) for name in module.layer_nodes}
    kept = sum(sizes[name] for name in unreached)
    total = sum(sizes.values())
    bits = (BITS * (total - kept) + FULL_BITS * kept) / total
    return min(math.nextafter(bits * (1 + 1e-9), math.inf), float(FULL_BITS))


# Scores need gradients of activations only; those of weights would cost a third of the time. The
# images require gradients, so that every layer gets one.
AutoQuantizeGradientSearcher.register_custom_support(
    lambda model: isinstance(model, GraphModule),
    nullcontext,
    lambda _name, _model: False,
)


def _elements(module: GraphModule, name: str) -> int:
    return int(cast("Tensor", module.get_submodule(name).weight).numel())


@contextmanager
def quiet() -> Iterator[None]:
    """Run ModelOpt without its progress bars and notes, and without TorchScript's compiler.

    Its fake-quantization functions are TorchScript: the fuser would compile each of them anew for
    every shape, which takes longer than the whole run.
    """
    with (
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
        cast("Any", torch.jit).optimized_execution(False),
    ):
        warnings.simplefilter("ignore")
        yield
