"""Figures that compare methods as wholes: critical differences, gains per dataset, profiles, gain against zero-shot, dose, cost."""

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports import cells, friedman, labels
from reports.analysis import Analysis
from reports.figures import PAGE, Drawing, foremost, handles, highlighted, inches, lines, panels, shortened
from reports.gains import gains_of, profiles
from reports.style import GREY, SOFT, Style
from reports.wording import counted, value

COLUMN, ROW = 0.125, 0.1  # inches: of a map, the narrowest that names of 7 pt fit


def cliques(ranks: pd.Series, distance: float) -> list[tuple[float, float]]:
    """The maximal runs of mean ranks that span less than the critical distance, as (first, last); single methods are none."""
    values = np.sort(ranks.to_numpy(dtype=float))
    found: list[tuple[float, float]] = []
    for first in values:
        last = values[values < first + distance].max()
        if last > first and (not found or last > found[-1][1]):
            found.append((float(first), float(last)))
    return found


def critical_difference(analysis: Analysis, looks: dict[str, Style], width: float) -> Drawing:
    """Demšar's diagram: mean ranks on a line (best left), bars join what the Nemenyi test does not tell apart."""
    scores = analysis.scores[analysis.ranked]
    ranks = pd.Series(friedman.friedman(scores.to_numpy()).ranks, index=analysis.ranked).sort_values(kind="stable")
    most = next(n for n in range(28, 3, -1) if inches(f"{shortened(label, n)} 00.0" for label in analysis.ranked) < 0.33 * width)
    short = {label: shortened(label, most) for label in analysis.ranked}
    distance = friedman.nemenyi_distance(*scores.shape[::-1])
    half, bars = (len(ranks) + 1) // 2, cliques(ranks, distance)
    step, top = 0.15, 0.2 + 0.07 * len(bars)  # inches: between labels, and of the first label below the axis
    high = 0.55 + top + step * half
    figure = Figure(figsize=(width, high))
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(-(top + step * half), 0.55))
    ax.set_axis_off()
    names = 0.15 + inches(f"{short[label]} 00.0" for label in analysis.ranked)  # on either side
    scale = (width - 2 * names) / max(len(ranks) - 1, 1)

    def x(rank: float) -> float:
        return names + (rank - 1) * scale

    ax.plot([x(1), x(len(ranks))], [0, 0], color="black", lw=0.8)
    every = max(1, round(len(ranks) / (12 if width > 4 else 6)))
    for tick in range(1, len(ranks) + 1):
        named = (tick - 1) % every == 0
        ax.plot([x(tick)] * 2, [0, 0.05 if named else 0.03], color="black", lw=0.8)
        if named:
            ax.text(x(tick), 0.07, str(tick), ha="center", va="bottom", fontsize=7)
    ax.plot([x(1), x(1 + distance)], [0.34, 0.34], color="black", lw=1.2, marker="|", ms=4)
    ax.text(x(1), 0.38, f"critical difference {distance:.2f}", va="bottom", fontsize=7)
    for i, (low, high_) in enumerate(bars):
        ax.plot([x(low), x(high_)], [-0.08 - 0.07 * i] * 2, color="black", lw=2, solid_capstyle="round")
    for i, (label, rank) in enumerate(ranks.items()):
        left = i < half
        y = -top - step * (i if left else len(ranks) - 1 - i)
        edge, side = (names - 0.06, "right") if left else (width - names + 0.06, "left")
        ax.plot([x(rank), x(rank), edge], [0, y, y], color=looks[str(label)].color, lw=0.6)
        text = f"{short[str(label)]} {rank:.1f}" if left else f"{rank:.1f} {short[str(label)]}"
        ax.text(edge + (-0.03 if left else 0.03), y, text, ha=side, va="center", fontsize=7)
    caption = (
        f"Mean ranks over {counted(len(scores), 'dataset')}; bars join methods that Nemenyi's test does not tell apart at 5 %. "
        "The tests that count are those in the leaderboard."
    )
    return Drawing(
        "critical_difference", caption, figure, ranks.rename("mean rank").to_frame().assign(critical_difference=distance)
    )


def gain_map(analysis: Analysis, width: float) -> Drawing:
    """Heat map of the gain over the control, datasets grouped, on a scale that nine tenths of the gains fill."""
    import seaborn as sns  # noqa: PLC0415 - a second, for this figure alone

    others = [label for label in analysis.shown if label != analysis.control]
    column = analysis.choices.group or "domain"
    of = analysis.runs.drop_duplicates("dataset").set_index("dataset", drop=False)[column].astype(object).fillna("").astype(str)
    datasets = sorted(analysis.datasets, key=lambda name: (of[name], name))
    gain = analysis.scores.loc[datasets, others].sub(analysis.scores.loc[datasets, analysis.control], axis=0)
    top = max(1.0, float(np.ceil(np.nanquantile(np.abs(gain.to_numpy(dtype=float)), 0.9))))
    shown = [shortened(name.replace("_", " "), 22) for name in datasets]
    below = [shortened(label, 28) for label in others]
    left, under, foot = 0.1 + inches(shown), 0.15 + inches(below), 0.47
    wide, tall = width - left - 0.08, min(0.14, max(ROW, (PAGE - foot - under) / len(datasets))) * len(datasets)
    across, down = max(1, int(wide / COLUMN)), max(1, int((PAGE - foot) / (tall + under)))
    fitting = np.arange(len(others))[: across * down]  # on a page
    blocks = np.array_split(fitting, -(-len(fitting) // across))  # below each other
    high = foot + len(blocks) * (tall + under)
    figure = Figure(figsize=(width, high))
    bar = figure.add_axes((left / width, 0.3 / high, wide / width, 0.08 / high))
    of_bar = {"orientation": "horizontal", "extend": "both", "label": f"gain over {analysis.control}, points"}
    for n, block in enumerate(reversed(blocks)):
        bottom, part = foot - 0.05 + n * (tall + under) + under, wide * len(block) / len(blocks[0])
        ax = figure.add_axes((left / width, bottom / high, part / width, tall / high))
        sns.heatmap(gain.iloc[:, block].set_axis(shown), ax=ax, cbar=n == 0, cbar_ax=bar, cbar_kws=of_bar, cmap="PuOr_r", vmin=-top,
                    vmax=top, linewidths=0.4, xticklabels=[below[i] for i in block], yticklabels=True)  # fmt: skip
        ax.set(xlabel="", ylabel="")
        ax.tick_params(length=0, pad=2)
        ax.tick_params(axis="x", rotation=90)
        ax.grid(visible=False)
        for i, (one, two) in enumerate(itertools.pairwise(datasets), 1):
            if of[one] != of[two]:
                ax.axhline(i, color="black", lw=1.2)
    bar.tick_params(length=2, pad=1)
    bar.xaxis.labelpad = 1
    caption = (
        f"Gain of the score over {analysis.control}, points; datasets by {column}. The colours end at ± {top:g} points, which "
        f"nine tenths of "
        f"the gains stay within.{f' The first {len(fitting)} of {len(others)} methods.' * (len(fitting) < len(others))}"
    )
    return Drawing("gain_map", caption, figure, gain.T)


def profile(analysis: Analysis, looks: dict[str, Style], width: float) -> Drawing:
    """Performance profiles: the share of runs whose gain over zero-shot exceeds a threshold. Higher and further right is better."""
    found, front = gains_of(analysis.runs, analysis.protocol, analysis.trained), highlighted(analysis)
    shares, std = profiles(found)
    legend = handles(front, looks, shares.shape[1] > len(front))
    (ax,) = panels(1, width, min(2.4, 0.6 * width), legend, "gain over zero-shot, points", "share of runs above")
    lines(ax, shares, front, looks, std, marked=False)
    ax.axvline(0, color=SOFT, ls="--", lw=1)
    ax.set_ylim(-0.02, 1.02)
    caption = (
        "Performance profiles: share of runs (datasets × noisy rates × seeds) whose gain over zero-shot exceeds a threshold; "
        "bands: ± 1 "
        "standard deviation over seeds."
    )
    return Drawing("profiles", caption, ax.figure, shares.join(std.add_suffix(" std")))  # type: ignore[arg-type]  # no subfigure


def gain_by_zero_shot(analysis: Analysis, looks: dict[str, Style], width: float) -> Drawing | None:
    """Gain over zero-shot against zero-shot accuracy, a point per task and method, at clean and at 50 % noise.

    A method that stays at zero-shot lies on 0 everywhere; one that is robust gains where zero-shot is weak, too.
    """
    curve = cells.of_protocol(analysis.runs[analysis.runs["trained"]], analysis.protocol)
    rates = sorted(curve["rate"].unique())
    wanted = list(dict.fromkeys((rates[0], min(rates, key=lambda rate: abs(rate - 0.5)))))
    front, zero_shot = highlighted(analysis), analysis.zero_shot
    others = [label for label in analysis.trained if label not in front]
    legend = handles(front, looks, bool(others), points=True)
    axes = panels(len(wanted), width, min(2.2, 0.42 * width), legend, "zero-shot accuracy, %", "gain, points", least=1.2)
    parts = []
    for ax, rate in zip(axes, wanted, strict=True):
        gain = cells.wide(curve[curve["rate"] == rate])[analysis.trained].sub(zero_shot, axis=0)
        ax.plot(
            np.repeat(zero_shot[gain.index], len(others)), gain[others].to_numpy().ravel(), ls="", marker="o", ms=1.5, color=GREY
        )
        for label in front:
            ax.plot(zero_shot[gain.index], gain[label], ms=3, alpha=0.75, **looks[label].line | {"linestyle": ""})
        ax.axhline(0, color=SOFT, ls="--", lw=1)
        ax.set_title(cells.setting_name(analysis.protocol, rate), pad=3)
        parts.append(gain.assign(rate=rate, zero_shot=zero_shot).reset_index())
    caption = (
        "Gain over zero-shot against zero-shot accuracy, a point per dataset and method; on the dashed line nothing was gained."
    )
    data = pd.concat(parts).set_index(["dataset", "rate"])
    return Drawing("gain_by_zero_shot", caption, axes[0].figure, data)  # type: ignore[arg-type]  # no subfigure


def dose(analysis: Analysis, looks: dict[str, Style], width: float) -> Drawing | None:
    """Accuracy under noise against accuracy before the first step, a line per method that was run from several starts."""
    rows = cells.scored(analysis.runs[analysis.runs["trained"]], analysis.protocol)
    table = rows[rows["start"].notna()].groupby(["method", "label"])[["start", "accuracy"]].mean()
    several = table.groupby(level="method")["start"].agg(lambda start: start.round(1).nunique()) > 1
    methods = [str(name) for name in dict.fromkeys(analysis.rows["method"][analysis.trained]) if several.get(name, False)]
    if not methods:
        return None
    first = {method: next(label for name, label in table.index if name == method) for method in methods}
    names = dict(rows.drop_duplicates("method").set_index("method")["method_title"])
    control = str(analysis.rows["method"].get(analysis.control, analysis.choices.control))
    titled = {str(names[method]): looks[first[method]] for method in foremost(methods, control)}
    legend = handles(list(titled), titled, len(methods) > len(titled))
    (ax,) = panels(1, width, min(2.4, 0.6 * width), legend, "accuracy before the first step, %", "score, %")
    for method in methods:
        line, look = pd.DataFrame(table.loc[method]).sort_values("start"), titled.get(str(names[method]))
        ax.plot(line["start"], line["accuracy"], **(look.line if look else {"color": GREY, "lw": 0.5, "zorder": 1}))
    starts = rows.drop_duplicates("label").set_index("label")["train"].map(lambda train: labels.protocol(train)["start"])
    begins = table.droplevel("method")["start"].groupby(starts).mean().sort_values()
    named = "; ".join(f"{name}: {value(accuracy)} %" for name, accuracy in begins.items())
    caption = (
        f"Dose: mean accuracy under {analysis.protocol} noise against accuracy at the start, a point per start ({named}), a line "
        "per method."
    )
    return Drawing("dose", caption, ax.figure, table)  # type: ignore[arg-type]  # no subfigure


def cost(analysis: Analysis, looks: dict[str, Style], width: float) -> Drawing | None:
    """The score against the seconds that a run takes, a point per method."""
    runs = cells.scored(analysis.runs[analysis.runs["trained"]], analysis.protocol)
    seconds = runs.groupby("label")[["wall_seconds", "steps"]].median().dropna()
    seconds = seconds[seconds["wall_seconds"].between(0, np.inf, inclusive="neither")]
    if seconds.empty:
        return None
    table = seconds.assign(score=analysis.scores.mean()).loc[[label for label in analysis.trained if label in seconds.index]]
    front = [label for label in highlighted(analysis) if label in table.index]
    legend = handles(front, looks, len(table) > len(front), points=True)
    (ax,) = panels(1, width, min(2.2, 0.55 * width), legend, "seconds per run (median)", "score, %")
    for label, (wall, _, score) in zip(table.index, table.to_numpy(dtype=float), strict=True):
        color = looks[label].color if label in front else GREY
        look = looks[label]
        ax.plot([wall], [score], ls="", marker=look.marker or "o", fillstyle=look.fillstyle, color=color, ms=4)
    ax.set_xlim(0, 1.05 * table["wall_seconds"].max())  # from 0, and room for the dearest one's marker
    return Drawing("cost", "Cost: the score against the seconds of a run (a share of its stack's in it).", ax.figure, table)  # type: ignore[arg-type]  # no subfigure


def whole(analysis: Analysis, looks: dict[str, Style], width: float) -> Iterator[Drawing | None]:
    """The figures of this room that these results allow."""
    if len(analysis.ranked) >= 3 and len(analysis.datasets) >= 2:
        yield critical_difference(analysis, looks, width)
    if analysis.control and len(analysis.labels) > 1:
        yield gain_map(analysis, width)
    if analysis.trained:
        if analysis.zero_shot.notna().all():
            yield profile(analysis, looks, width)
            yield gain_by_zero_shot(analysis, looks, width)
        yield dose(analysis, looks, width)
        yield cost(analysis, looks, width)
