"""Reading a finished search: scores of layers, and the layers for a budget of bits."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import modelopt.torch.quantization as mtq
import torch

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import Allocation, LayerScore
from mpj_runner.sensitivity.scoring import BITS, FULL_BITS, SEARCH_FILE

LARGEST: Final = 1e6
"""What the highest score is scaled to; only ratios mean anything. ModelOpt's solver returns wrong
answers when all scores are tiny (measured: at 1e-17 it gave 8.00 bits where 12 were asked)."""
DIGITS: Final = 12
SLACK: Final = 0.05
"""Bits by which the least achievable budget may exceed the one asked: layers that are never
quantized, such as the DFL integral, count 16 bits."""
FIELD: Final = "spec.candidates[].autoQuantize.effectiveBits"


@dataclass(frozen=True)
class Search:
    """A finished search."""

    state: dict[str, Any]
    """ModelOpt's state with scaled scores."""
    nodes: Mapping[str, str]
    """ONNX node names by module name."""

    @classmethod
    def load(cls, folder: Path, nodes: Mapping[str, str]) -> "Search":
        """Read the state that ``scoring.search`` kept in a folder.

        Raises:
            UserError: no layer's quantization changes anything, or scores are not finite.
        """
        # ModelOpt registers its classes as safe: nothing else is unpickled.
        state = torch.load(folder / SEARCH_FILE, map_location="cpu", weights_only=True)
        stats = {name: dict(stat) for name, stat in state["candidate_stats"].items()}
        scores = [score for stat in stats.values() for score in stat["scores"]]
        highest = max(scores, default=0.0) if all(map(math.isfinite, scores)) else math.nan
        if not highest > 0:
            raise UserError(
                f"autoQuantize scored every layer {highest:g}: quantizing them changes nothing in"
                " the model's outputs, or the outputs are not finite; check the model's weights"
                " and spec.calibration"
            )
        factor = LARGEST / highest
        for stat in stats.values():
            # A divergence below zero is rounding, and would make the solver quantize everything.
            stat["scores"] = [round(max(score, 0.0) * factor, DIGITS) for score in stat["scores"]]
        return cls({**state, "candidate_stats": stats}, nodes)

    def scores(self) -> tuple[LayerScore, ...]:
        """Return the searched layers, most sensitive first; ties by name."""
        found = [
            LayerScore(
                layer=self.nodes[stat["module_names"][0]],
                score=float(stat["scores"][0]),
                cost=float(stat["uncompressed_cost"]),
            )
            for stat in self.state["candidate_stats"].values()
            if len(stat["formats"]) > 1
        ]
        return tuple(sorted(found, key=lambda layer: (-layer.score, layer.layer)))

    def allocation(self, effective_bits: float) -> Allocation:
        """Choose the layers to quantize so that a weight takes this many bits on average.

        Raises:
            UserError: the budget is outside what the format can reach.
        """
        least = self._bits(frozenset(self._searched()))
        if not BITS <= effective_bits <= FULL_BITS or least > effective_bits + SLACK:
            raise UserError(
                f"{FIELD} {effective_bits:g} cannot be reached: with this format it must be between"
                f" {least:.4g} and {FULL_BITS}"
            )
        budget = max(effective_bits, math.nextafter(least * (1 + 1e-9), math.inf))
        chosen = self._within(budget, self._solved(budget))
        return Allocation(
            effective_bits=effective_bits,
            achieved_bits=round(self._bits(chosen), 6),
            quantized=tuple(node for name, node in self.nodes.items() if name in chosen),
            kept=tuple(node for name, node in self.nodes.items() if name not in chosen),
        )

    def _searched(self) -> list[str]:
        return [
            name
            for stat in self.state["candidate_stats"].values()
            if len(stat["formats"]) > 1
            for name in stat["module_names"]
        ]

    def _solved(self, bits: float) -> frozenset[str]:
        """Return the modules that ModelOpt's solver quantizes under a budget."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "algorithm is max": the ranges are kept elsewhere
            config = mtq.get_auto_quantize_config(self.state, {"effective_bits": bits})
        suffix = ".weight_quantizer"
        return frozenset(
            entry["quantizer_name"].removesuffix(suffix)
            for entry in config["quant_cfg"]
            if entry["quantizer_name"].endswith(suffix) and entry["enable"]
        )

    def _within(self, budget: float, chosen: frozenset[str]) -> frozenset[str]:
        """Quantize the least sensitive of the rest until the budget holds.

        ModelOpt's bisection for kl_div may stop at the threshold just below the one that meets the
        budget, and then returns a choice that is one step too large.
        """
        scores = {
            stat["module_names"][0]: stat["scores"][0]
            for stat in self.state["candidate_stats"].values()
        }
        rest = sorted(set(self._searched()) - chosen, key=lambda name: (-scores[name], name))
        while rest and self._bits(chosen) > budget:
            chosen |= {rest.pop()}
        return chosen

    def _bits(self, quantized: frozenset[str]) -> float:
        stats = self.state["candidate_stats"].values()
        total = sum(stat["uncompressed_cost"] for stat in stats)
        used = sum(
            stat["uncompressed_cost"] * (BITS if name in quantized else FULL_BITS) / FULL_BITS
            for stat in stats
            for name in stat["module_names"][:1]
        )
        return FULL_BITS * used / total if total else float(FULL_BITS)
