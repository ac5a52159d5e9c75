"""One look for every figure: colours, line styles and markers that stay with a method, and labels that do not overlap."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

# Okabe and Ito's colours without the yellow, which vanishes on white: distinguishable under the common colour blindnesses.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C510A")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
GREY, INK = "#B8B8B8", "#222222"

mpl.rcParams["pdf.fonttype"] = 42  # text stays text in print
RC: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
}


class Style(NamedTuple):
    """How a method is drawn."""

    color: str
    linestyle: Any
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """As keyword arguments of `Axes.plot`."""
        return self._asdict()


def styles(labels: Iterable[str], control: str = "coop_ce") -> dict[str, Style]:
    """A look for every method, the same in all figures of a report: 7 colours × 4 line styles, 11 markers.

    The looks follow the alphabet, not the ranking, so they do not change with the outcome. The control is black, zero-shot grey.
    """
    fixed = {"zero_shot": Style("#555555", "--", ""), control: Style("#000000", "-", "o")}
    others = sorted(set(labels) - set(fixed))
    looks = {
        label: Style(COLOURS[i % len(COLOURS)], LINES[(i // len(COLOURS)) % len(LINES)], MARKERS[i % len(MARKERS)])
        for i, label in enumerate(others)
    }
    return {label: look for label, look in {**fixed, **looks}.items() if label in set(labels)}


def apart(positions: np.ndarray[Any, np.dtype[np.float64]], gap: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The nearest positions (least squares) in the same order that are at least `gap` apart.

    With p_i - i·gap non-decreasing this is an isotonic regression.
    """
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(positions))
    moved = np.empty(len(positions))
    moved[order] = isotonic_regression(np.asarray(positions, dtype=float)[order] - steps).x + steps if len(positions) else []
    return moved


def label_ends(ax: Axes, x: float, ends: dict[str, float], looks: dict[str, Style], size: float = 8) -> None:
    """Write each line's name to the right of its end, moved apart vertically, with a thin leader."""
    low, high = ax.get_ylim()
    height = ax.get_figure().get_size_inches()[1] * ax.get_position().height * 72  # type: ignore[union-attr]  # drawn
    gap = (high - low) * size * 1.25 / height
    names = list(ends)
    for name, y in zip(names, apart(np.array([ends[name] for name in names]), gap), strict=True):
        color = looks[name].color
        leader = {"arrowstyle": "-", "color": color, "lw": 0.5, "shrinkA": 0, "shrinkB": 2}
        place: Any = {"xytext": (1.03, y), "textcoords": ax.get_yaxis_transform(), "va": "center", "annotation_clip": False}
        ax.annotate(name, (x, ends[name]), color=color, fontsize=size, arrowprops=leader, **place)
