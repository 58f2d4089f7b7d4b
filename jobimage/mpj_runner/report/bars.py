"""The most sensitive layers as bars, as inline SVG."""

from collections.abc import Sequence
from typing import Final

from mpj_runner.contract.report import Sensitivity
from mpj_runner.report.html import Markup, tag

_SHOWN: Final = 20
_ROW: Final = 34


def bars(scores: Sequence[Sensitivity]) -> Markup | None:
    """Draw the first 20 layers of a ranking; None when no score is above zero."""
    shown = [s for s in scores[:_SHOWN] if s.score > 0]
    if not shown:
        return None
    largest = shown[0].score
    rows = [
        tag(
            "g",
            tag("title", f"{s.node}: {s.score:.4g}"),
            tag("text", s.layer, x=0, y=i * _ROW + 13, class_="layer"),
            tag(
                "text",
                f"{100 * s.score / largest:.3g} %",
                x="100%",
                y=i * _ROW + 13,
                text_anchor="end",
                class_="tick",
            ),
            tag("rect", x=0, y=i * _ROW + 19, width="100%", height=5, rx=2.5, class_="track"),
            tag(
                "rect",
                x=0,
                y=i * _ROW + 19,
                width=f"{max(100 * s.score / largest, 0.6):.2f}%",
                height=5,
                rx=2.5,
                class_="bar",
            ),
        )
        for i, s in enumerate(shown)
    ]
    summary = (
        f"The {len(shown)} most sensitive of {len(scores)} layers, each as a share of the most "
        f"sensitive one, {shown[0].layer}."
    )
    return tag(
        "svg",
        tag("title", "Sensitivity of layers", id="bars-title"),
        tag("desc", summary, id="bars-desc"),
        *rows,
        role="img",
        aria_labelledby="bars-title bars-desc",
        class_="plot",
        width="100%",
        height=len(shown) * _ROW,
    )
