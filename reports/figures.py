"""The parts that figures are made of: panels of a printed size, lines with bands before grey ones, one legend.

Widths are inches in print and type is at least 7 pt there, so a figure is included at its own size, never scaled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from reports import cells
from reports.analysis import Analysis
from reports.style import GREY, MOST, SOFT, Style
from reports.wording import counted

PAGE, NARROWEST, FLATTEST = 8.8, 0.8, 0.35  # inches: the height of a page of text, and the least of a panel


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure, what it shows, and its numbers."""

    name: str  # of its files
    caption: str
    figure: Figure
    data: pd.DataFrame


def curve(runs: pd.DataFrame, protocol: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean over datasets, and its standard deviation over seeds, at every rate: percent, [rates × labels]."""
    rows = cells.of_protocol(runs, protocol)
    per_seed = rows.groupby(["rate", "label", "seed"], as_index=False)["accuracy"].mean()
    std = per_seed.pivot_table(index="rate", columns="label", values="accuracy", aggfunc="std", dropna=False)
    return cells.wide(rows, "rate"), std


def highlighted(analysis: Analysis) -> list[str]:
    """The trained labels that panels show in colour: the user's first, else the best, and always the control; at most eight.

    Where the control's method has several rows, the best of them.
    """
    labels, method = analysis.trained, analysis.rows["method"]
    control = analysis.control or next((label for label in labels if method[label] == analysis.choices.control), "")
    return foremost(labels, control)


def foremost(names: Sequence[str], always: str) -> list[str]:
    """The first eight names, in their order; `always` is one of them if it is there at all."""
    first = [name for name in names if name != always][: MOST - (always in names)]
    return [name for name in names if name in first or name == always]


def panels(count: int, width: float, height: float, legend: Sequence[Line2D], x: str, y: str, least: float = 1.05) -> list[Axes]:
    """Small multiples (or one panel) with common axes, one legend above and one label per axis.

    Placed by hand: constrained layout takes seconds for 25 panels.

    Args:
        count: Panels.
        width: Of the figure, inches.
        height: Of a panel, inches; less where they would be taller than a page.
        legend: Handles; their labels are the names.
        x: Label of the common x axis.
        y: Of the common y axis.
        least: Width of a panel, inches: as many stand beside each other as fit, or more where a page is full.
    """
    left, right, bottom, gap = 0.48, 0.1, 0.4, 0.1
    lines, columns = _legend_shape(legend, width)
    title = 0.22 if count > 1 else 0.08
    top = 0.05 + 0.149 * lines + title
    for wanted in (least, NARROWEST):
        across = max(1, min(count, int((width - left - right + gap) / (wanted + gap))))
        down = -(-count // across)
        room = (PAGE - top - bottom + title + 0.05) / down - title - 0.05
        if room >= FLATTEST:
            break
    height = min(height, max(room, FLATTEST))
    high = top + down * height + (down - 1) * (title + 0.05) + bottom
    figure = Figure(figsize=(width, high))
    wide = (width - left - right - gap * (across - 1)) / across
    axes: list[Axes] = []
    for i in range(count):
        row, column = divmod(i, across)
        box = (left + column * (wide + gap), high - top - (row + 1) * height - row * (title + 0.05), wide, height)
        first = axes[0] if axes else None
        ax = figure.add_axes((box[0] / width, box[1] / high, box[2] / width, box[3] / high), sharex=first, sharey=first)
        ax.tick_params(labelleft=column == 0, labelbottom=i + across >= count, length=2, pad=2)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_label_coords(0, 0)  # it has no label; else matplotlib looks for its place, panel by panel
        axes.append(ax)
    if legend:
        figure.legend(handles=list(legend), loc="upper center", bbox_to_anchor=(0.5, 1 - 0.02 / high), ncols=columns,
                      borderaxespad=0, handlelength=2.2, columnspacing=1.0, handletextpad=0.4, labelspacing=0.25)  # fmt: skip
    figure.text((left + (width - left - right) / 2) / width, 0.05 / high, x, ha="center", va="bottom")
    figure.text(0.03 / width, (bottom + (high - top - bottom) / 2) / high, y, ha="left", va="center", rotation=90)
    return axes


def _legend_shape(legend: Sequence[Line2D], width: float) -> tuple[int, int]:
    """Lines and columns of a legend that is no wider than the figure."""
    if not legend:
        return 0, 1
    widest = inches((str(handle.get_label()) for handle in legend), 7.5) + 0.44
    columns = max(1, min(len(legend), int((width - 0.1) / widest)))
    return -(-len(legend) // columns), columns


def inches(names: Iterable[str], size: float = 7.0) -> float:
    """The width of the widest name."""
    return max((_points(name, size) for name in names if name.strip()), default=0.0) / 72


@cache  # names stand in every figure
def _points(name: str, size: float) -> float:
    width: float = text_to_path.get_text_width_height_descent(name, FontProperties(size=size), ismath=False)[0]
    return 1.04 * width  # hinted, as small type is drawn, it is wider


def handles(labels: Sequence[str], looks: dict[str, Style], others: bool = False, zero_shot: bool = False, *,
            points: bool = False) -> list[Line2D]:  # fmt: skip
    """A legend's lines, or points: of methods, of zero-shot, and of the grey rest."""
    found = [Line2D([], [], label=label, **looks[label].line | ({"linestyle": ""} if points else {})) for label in labels]
    found += [Line2D([], [], label="zero-shot", color=SOFT, ls="--", lw=1)] if zero_shot else []
    rest: dict[str, Any] = {"ls": "", "marker": "o"} if points else {"lw": 0.8}
    return found + ([Line2D([], [], label="other methods", color=GREY, **rest)] if others else [])


def lines(ax: Axes, mean: pd.DataFrame, front: Sequence[str], looks: dict[str, Style], std: pd.DataFrame | None = None, *,
          marked: bool = True) -> None:  # fmt: skip
    """Lines [x × labels]: those in front in colour with bands of ± `std`, the others behind in grey, as one line with gaps."""
    others = mean[[label for label in mean if label not in front]]
    if others.shape[1]:
        gaps = np.vstack([others.to_numpy(dtype=float), np.full((1, others.shape[1]), np.nan)])
        ax.plot(
            np.tile(np.append(others.index.to_numpy(dtype=float), np.nan), others.shape[1]),
            gaps.T.ravel(),
            color=GREY,
            lw=0.5,
            marker="." if len(others) == 1 else "",  # a single rate makes no line
            ms=3,
            zorder=1,
        )
    for label in front:
        y = mean[label].to_numpy(dtype=float)
        if std is not None and label in std and std[label].notna().any():
            band = std[label].fillna(0.0).to_numpy(dtype=float)
            ax.fill_between(mean.index, y - band, y + band, color=looks[label].color, alpha=0.15, lw=0)
        ax.plot(mean.index, y, **(looks[label].line if marked else looks[label].line | {"marker": ""}))


def noise_curves(analysis: Analysis, protocol: str, looks: dict[str, Style], width: float) -> Drawing:
    """Accuracy against noise rate, mean over datasets; rates at which the true class is not identifiable are shaded."""
    mean, std = curve(analysis.runs[analysis.runs["trained"]], protocol)
    front = highlighted(analysis)
    (ax,) = panels(1, width, min(2.6, 0.62 * width), handles(front, looks, mean.shape[1] > len(front), zero_shot=True),
                   f"{protocol} noise, % of labels", "accuracy, %")  # fmt: skip
    lines(ax, mean, front, looks, std)
    _zero_shot(ax, analysis.mean_zero_shot)
    _rates(ax, cells.of_protocol(analysis.runs, protocol))
    caption = (
        f"Accuracy against {protocol} noise, mean over {counted(len(analysis.datasets), 'dataset')}; bands: ± 1 standard "
        f"deviation over "
        f"seeds; dashed: zero-shot.{_grey(mean.shape[1] - len(front))}"
    )
    data = mean.join(std.add_suffix(" std")).assign(zero_shot=analysis.mean_zero_shot)
    return Drawing(f"noise_{protocol}", caption, ax.figure, data)  # type: ignore[arg-type]  # no subfigure


def noise_by_dataset(analysis: Analysis, protocol: str, looks: dict[str, Style], width: float) -> Drawing:
    """Accuracy against noise rate, a panel per dataset."""
    front = highlighted(analysis)
    runs = cells.of_protocol(analysis.runs[analysis.runs["trained"]], protocol)
    legend = handles(front, looks, len(analysis.trained) > len(front), zero_shot=True)
    axes = panels(len(analysis.datasets), width, 0.85, legend, f"{protocol} noise, % of labels", "accuracy, %")
    table = runs.groupby(["dataset", "rate", "label"])["accuracy"].agg(["mean", "std"]).unstack("label")  # noqa: PD010 - nothing is aggregated
    for ax, dataset in zip(axes, analysis.datasets, strict=True):
        lines(ax, table["mean"].loc[dataset], front, looks, table["std"].loc[dataset] if len(axes) <= MOST else None)
        _zero_shot(ax, float(analysis.zero_shot[dataset]))
        ax.set_title(fitting(dataset.replace("_", " "), ax), pad=3)
    _rates(axes[0], runs)
    caption = f"Accuracy against {protocol} noise on each dataset, mean over seeds; dashed: zero-shot."
    data = table["mean"].join(table["std"].add_suffix(" std")).join(analysis.zero_shot, on="dataset")
    return Drawing(f"datasets_{protocol}", caption, axes[0].figure, data)  # type: ignore[arg-type]  # no subfigure


def shortened(name: str, most: int) -> str:
    """A name where room is short: without its middle, as names of variants differ at their ends."""
    last = (most - 1) // 2
    return name if len(name) <= most else f"{name[: most - 1 - last].rstrip()}…{name[-last:].lstrip()}"


def fitting(name: str, ax: Axes) -> str:
    """A title no wider than its panel and the gap beside it."""
    room = ax.bbox.width / ax.figure.dpi + 0.08
    return next(short for most in range(len(name), 0, -1) if inches([short := shortened(name, most)], 8) <= room)


def _grey(count: int) -> str:
    return f" Grey: {counted(count, 'other method')}." if count > 0 else ""


def _zero_shot(ax: Axes, accuracy: float) -> None:
    """Across the panel, as `axhline`, which scales the axes anew at each call, and that takes longer than all else."""
    if np.isfinite(accuracy):
        ax.plot([0, 1], [accuracy] * 2, color=SOFT, ls="--", lw=1, zorder=1.5, transform=ax.get_yaxis_transform())


def _rates(ax: Axes, runs: pd.DataFrame) -> None:
    rates = sorted(runs["rate"].unique())
    ax.set_xticks(rates, [f"{100 * rate:g}" for rate in rates])
    for rate in sorted(runs.loc[~runs["identifiable"], "rate"].unique()):
        ax.axvspan(rate - 0.02, rate + 0.02, color="#EEEEEE", zorder=0)
