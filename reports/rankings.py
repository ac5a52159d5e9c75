"""Figures that compare methods as wholes: the critical-difference diagram and performance profiles."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reports.figures import MANY, behind, name_axes, panels
from reports.style import RC, Style


def cliques(ranks: pd.Series, distance: float) -> list[tuple[float, float]]:
    """The maximal runs of mean ranks that span less than the critical distance, as (first, last); single methods are none."""
    values = np.sort(ranks.to_numpy(dtype=float))
    found: list[tuple[float, float]] = []
    for first in values:
        last = values[values < first + distance].max()
        if last > first and (not found or last > found[-1][1]):
            found.append((float(first), float(last)))
    return found


def critical_difference(ranks: pd.Series, distance: float, looks: dict[str, Style]) -> Axes:
    """Demšar's diagram: mean ranks on a line (best left), bars join what the Nemenyi test does not tell apart.

    Args:
        ranks: Mean rank per label.
        distance: The Nemenyi critical difference.
        looks: Colours.
    """
    ranks = ranks.sort_values(kind="stable")
    half = (len(ranks) + 1) // 2
    bars = cliques(ranks, distance)
    step, first, last = 0.26, 1.0, float(len(ranks))
    top = 0.35 + 0.13 * len(bars)  # of the first label, below the axis
    height = 0.9 + top + step * half
    with plt.rc_context(RC | {"axes.grid": False}):
        fig, ax = plt.subplots(figsize=(7.2, height))
        fig.subplots_adjust(left=0.02, right=0.98, top=0.98, bottom=0.02)
        margin = 0.3 * (last - first + 1)
        ax.set(xlim=(first - margin, last + margin), ylim=(-(top + step * half), 0.75))
        ax.set_axis_off()
        ax.plot([first, last], [0, 0], color="black", lw=1)
        every = max(1, round(len(ranks) / 12))
        for tick in range(1, len(ranks) + 1):
            ax.plot([tick, tick], [0, 0.08 if (tick - 1) % every == 0 else 0.04], color="black", lw=1)
            if (tick - 1) % every == 0:
                ax.text(tick, 0.12, str(tick), ha="center", va="bottom", fontsize=8)
        ax.plot([first, first + distance], [0.5, 0.5], color="black", lw=1.5, marker="|", ms=6)
        ax.text(first + distance + 0.02 * last, 0.5, f"critical difference {distance:.2f}", va="center", fontsize=8)
        for i, (low, high) in enumerate(bars):
            ax.plot([low, high], [-0.16 - 0.13 * i] * 2, color="black", lw=3, solid_capstyle="round")
        for i, (label, rank) in enumerate(ranks.items()):
            left = i < half
            y = -top - step * (i if left else len(ranks) - 1 - i)
            x, side = (first - 0.02 * last, "right") if left else (last + 0.02 * last, "left")
            ax.plot([rank, rank, x], [0, y, y], color=looks[str(label)].color, lw=0.8)
            text = f"{label}  {rank:.2f}" if left else f"{rank:.2f}  {label}"
            ax.text(x + (-0.01 if left else 0.01) * last, y, text, ha=side, va="center", fontsize=8)
    return ax


def profile(shares: pd.DataFrame, looks: dict[str, Style]) -> list[Axes]:
    """Performance profiles: the share of runs whose gain over zero-shot exceeds a threshold. Higher and further right is better."""
    labels = [str(label) for label in shares]
    with plt.rc_context(RC):
        if len(labels) <= MANY:
            fig, ax = plt.subplots(figsize=(6.4, 4.0))
            fig.subplots_adjust(left=0.09, right=0.78, top=0.96, bottom=0.12)
            axes, fronts = [ax], [labels]
        else:
            fig, axes = panels(len(labels))
            fronts = [[label] for label in labels]
        for ax, front in zip(axes, fronts, strict=True):
            behind(ax, shares[[label for label in labels if label not in front]])
            for label in front:
                ax.plot(shares.index, shares[label], color=looks[label].color, linestyle=looks[label].linestyle)
            ax.axvline(0, color="#555555", ls="--", lw=1)
            ax.set_ylim(-0.02, 1.02)
        names = ("gain over zero-shot, points", "share of runs above")
        if len(axes) == 1:
            axes[0].legend(axes[0].get_lines()[: len(labels)], labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8)
            axes[0].set(xlabel=names[0], ylabel=names[1])
        else:
            for ax, label in zip(axes, labels, strict=True):
                ax.set_title(label)
            name_axes(fig, *names)
    return axes
