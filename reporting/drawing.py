"""Figures as SVG by matplotlib: one set-up, and values under the pointer."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fedvoice.protocol.errors import missing_extra
from fedvoice.reporting.page import LIGHT

WIDTH_INCHES, HEIGHT_INCHES = 5.0, 3.3
"""Small, so that letters are still read on a phone's screen."""
ROUND = "round"
"""The label of an axis of rounds."""
_POINTS_PER_INCH = 72
_MOST_SPOTS = 200
"""Of a curve."""


@dataclass
class Drawing:
    """A figure in the making. spots: (axis, x, y, text): what is told at a place of an axis."""

    figure: Any
    spots: list[tuple[Any, float, float, str]] = field(default_factory=list)

    def tell(
        self, axis: Any, xs: Sequence[float], ys: Sequence[float], texts: Sequence[str]
    ) -> None:
        """Tell a text at each point of a curve, of a long one at some of them."""
        step = max(1, -(-len(xs) // _MOST_SPOTS))
        for x, y, text in list(zip(xs, ys, texts, strict=True))[::step]:
            self.spots.append((axis, x, y, text))

    def svg(self) -> str:
        """The finished SVG, in the colours of `page.LIGHT`; the figure is closed."""
        self.figure.draw_without_rendering()  # the layout's places
        height = self.figure.get_figheight() * _POINTS_PER_INCH
        scale = _POINTS_PER_INCH / self.figure.dpi
        circles = []
        for axis, x, y, text in self.spots:
            left, up = axis.transData.transform((x, y)) * scale
            circles.append(
                f'<circle class="hit" cx="{left:.1f}" cy="{height - up:.1f}" r="6" '
                f'fill="none"><title>{html.escape(text)}</title></circle>'
            )
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        pyplot().close(self.figure)
        drawn = buffer.getvalue()
        return drawn[drawn.index("<svg") :].replace("</svg>", f"{''.join(circles)}</svg>")


def axes(x: str, y: str, height: float = HEIGHT_INCHES) -> tuple[Drawing, Any]:
    """A drawing of one axis.

    Raises:
        FedvoiceError: `missing-extra` without matplotlib.
    """
    figure, axis = pyplot().subplots(figsize=(WIDTH_INCHES, height), layout="constrained")
    axis.set(xlabel=x, ylabel=y)
    if x == ROUND:  # there is no round 2.5
        axis.xaxis.get_major_locator().set_params(integer=True)
    return Drawing(figure), axis


def pyplot() -> Any:
    """matplotlib.pyplot, set up to draw the same text for the same figures.

    Raises:
        FedvoiceError: `missing-extra` without matplotlib.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise missing_extra(
            "fleet",
            where="figures of a report",
            got="no matplotlib package",
            wanted="matplotlib",
        ) from error
    mpl.use("Agg")
    from matplotlib import pyplot as made

    ink = LIGHT["--ink"]
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "fedvoice", "font.size": 10})
    mpl.rcParams.update({"text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": ink})
    mpl.rcParams.update({"xtick.color": ink, "ytick.color": ink, "grid.color": LIGHT["--grid"]})
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
    mpl.rcParams.update({"axes.grid": True, "grid.alpha": 0.35, "legend.frameon": False})
    return made
