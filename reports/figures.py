"""Figures of accuracy: functions from numbers to matplotlib axes. `reports.training` has those over epochs."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import cells
from reports.analysis import ZERO_SHOT
from reports.style import GREY, INK, RC, Style, label_ends

MANY = 10  # more lines than this are drawn as small multiples


def curve(runs: pd.DataFrame, protocol: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean over datasets, and its standard deviation over seeds, at every rate: percent, [rates × labels]."""
    rows = cells.of_protocol(runs, protocol)
    per_seed = rows.groupby(["rate", "label", "seed"], as_index=False)["accuracy"].mean()
    std = per_seed.pivot_table(index="rate", columns="label", values="accuracy", aggfunc="std", dropna=False)
    return cells.wide(rows, "rate"), std


def panels(count: int, width: float = 1.95, height: float = 1.75, columns: int = 5, top: float = 0.35) -> tuple[Figure, list[Axes]]:
    """`count` small panels with common axes, at most `columns` beside each other; sizes in inches, `top` above the first row.

    Placed by hand: constrained layout takes seconds for 25 panels.
    """
    across = min(columns, count)
    down = -(-count // across)
    left, right, bottom = 0.75, 0.1, 0.55
    wide, high = width * across + left + right, height * down + bottom + top
    fig, grid = plt.subplots(down, across, sharex=True, sharey=True, squeeze=False, figsize=(wide, high))
    fig.subplots_adjust(left / wide, bottom / high, 1 - right / wide, 1 - top / high, wspace=0.12, hspace=0.34)
    axes = list(grid.flat)
    for ax in axes[count:]:
        ax.set_axis_off()
    for ax in axes[max(0, count - across) : count]:
        ax.tick_params(labelbottom=True)
    return fig, axes[:count]


def behind(ax: Axes, others: pd.DataFrame) -> None:
    """The other methods' lines [x × labels] in grey, as one line with gaps: hundreds of lines take seconds to draw."""
    if others.shape[1]:
        gaps = np.vstack([others.to_numpy(dtype=float), np.full((1, others.shape[1]), np.nan)])
        x = np.append(others.index.to_numpy(dtype=float), np.nan)
        ax.plot(np.tile(x, others.shape[1]), gaps.T.ravel(), color=GREY, lw=0.5, zorder=1)


def name_axes(fig: Figure, x: str, y: str) -> None:
    """The common axis labels of panels."""
    wide, high = fig.get_size_inches()
    fig.text(0.5, 0.12 / high, x, ha="center", va="bottom", fontsize=9)
    fig.text(0.12 / wide, 0.5, y, ha="left", va="center", rotation=90, fontsize=9)


def _rates(ax: Axes, rates: Any, unidentifiable: list[float]) -> None:
    ax.set_xticks(list(rates), [f"{100 * rate:g}" for rate in rates])
    for rate in unidentifiable:
        ax.axvspan(rate - 0.02, rate + 0.02, color="#EEEEEE", zorder=0)


def noise_curves(runs: pd.DataFrame, protocol: str, order: list[str], looks: dict[str, Style], title: str = "") -> list[Axes]:
    """Accuracy against noise rate, mean over datasets; the band is ± 1 standard deviation over seeds; the dashed line is zero-shot.

    Up to ten methods share one panel; more get a panel each, the others behind in grey. Rates at which the true class is not
    identifiable are shaded.
    """
    mean, std = curve(runs, protocol)
    std = std.fillna(0.0)
    lines = [label for label in order if label != ZERO_SHOT]
    setting = cells.of_protocol(runs, protocol)
    shaded = sorted(setting.loc[~setting["identifiable"], "rate"].unique())
    with plt.rc_context(RC):
        if len(lines) <= MANY:
            fig, ax = plt.subplots(figsize=(6.4, 4.0))
            fig.subplots_adjust(left=0.09, right=0.78, top=0.93, bottom=0.12)
            axes, shown = [ax], [lines]
        else:
            fig, axes = panels(len(lines))
            shown = [[label] for label in lines]
        for ax, front in zip(axes, shown, strict=True):
            behind(ax, mean[[label for label in lines if label not in front]])
            for label in front:
                ax.fill_between(
                    mean.index, mean[label] - std[label], mean[label] + std[label], color=looks[label].color, alpha=0.15, lw=0
                )
                ax.plot(mean.index, mean[label], **looks[label].line)
            if ZERO_SHOT in mean:
                ax.axhline(mean[ZERO_SHOT].iloc[0], color=looks[ZERO_SHOT].color, ls="--", lw=1)
            _rates(ax, mean.index, shaded)
        if len(axes) == 1:
            ends = {label: float(mean[label].iloc[-1]) for label in (*lines, *([ZERO_SHOT] if ZERO_SHOT in mean else []))}
            label_ends(axes[0], float(mean.index[-1]), ends, looks)
            axes[0].set(xlabel=f"{protocol} noise, % of labels", ylabel="accuracy, %", title=title)
        else:
            for ax, label in zip(axes, lines, strict=True):
                ax.set_title(label, color=INK)
            name_axes(fig, f"{protocol} noise, % of labels", "accuracy, %")
            fig.suptitle(title, fontsize=10)
    return axes


def column_order(frame: pd.DataFrame, order: list[str]) -> list[str]:
    """The labels of `order` that the frame has."""
    return [label for label in order if label in frame]


def gain_map(gains: pd.DataFrame, control: str, title: str = "") -> Axes:
    """Heat map of the gain over the control: points, [labels × datasets], on a scale symmetric about 0."""
    import seaborn as sns  # noqa: PLC0415 - half a second that other figures do without

    rows, columns = gains.shape
    top = float(np.nanmax(np.abs(gains.to_numpy()))) or 1.0
    with plt.rc_context(RC | {"axes.grid": False}):
        _, ax = plt.subplots(figsize=(2.2 + 0.48 * columns, 1.4 + 0.26 * rows), layout="constrained")
        sns.heatmap(
            gains, ax=ax, cmap="PuOr_r", center=0, vmin=-top, vmax=top, annot=True, fmt=".1f", annot_kws={"size": 7},
            linewidths=0.5, cbar_kws={"label": f"gain over {control}, points"}, xticklabels=True, yticklabels=True,
        )  # fmt: skip
        ax.set(xlabel="", ylabel="", title=title)
        ax.tick_params(axis="x", rotation=90, length=0)
        ax.tick_params(axis="y", rotation=0, length=0)
    return ax
