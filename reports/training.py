"""Figures over epochs and of the losses: memorisation, gradient share, detection of noise, gradient against probability."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.results.frame import Results
from reports import cells
from reports.analysis import Analysis
from reports.choices import CONTROL
from reports.figures import Drawing, fitting, foremost, handles, highlighted, lines, panels
from reports.style import SOFT, Style

ROLES = {
    "train_given": ("given labels", "#D55E00", "-"),
    "train_true": ("true labels", "#0072B2", "-"),
    "accuracy": ("test", "#000000", "--"),
}
EPOCH = MaxNLocator(4, integer=True)


def over_epochs(history: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Mean histories per method and seed: the numeric columns averaged over runs, indexed by label, seed and epoch (from 1).

    Args:
        history: As `Results.history` gives it.
        runs: The runs to average over; `run_id`, `label` and `seed` are read.
    """
    labelled = history.merge(runs[["run_id", "label", "seed"]], on="run_id")
    labelled["epoch"] += 1  # recorded from 0
    return labelled.drop(columns="run_id").groupby(["label", "seed", "epoch"]).mean()


def memorisation(means: pd.DataFrame, order: list[str], width: float, where: str) -> Drawing:
    """Accuracy over epochs on the given and the true labels of the training set, and on test: a gap that opens is memorisation.

    Args:
        means: As `over_epochs` gives it.
        order: Labels, a panel each.
        width: Inches.
        where: Which runs, for the caption.
    """
    table = means[[column for column in ROLES if column in means]].groupby(level=["label", "epoch"]).mean()
    known = table.index.unique("label")
    labels = [label for label in order if label in known]
    legend = [Line2D([], [], label=name, color=color, ls=line) for column, (name, color, line) in ROLES.items() if column in table]
    axes = panels(len(labels), width, 0.9, legend, "epoch", "accuracy, %")
    for ax, label in zip(axes, labels, strict=True):
        one = table.loc[label]
        for column, (_, color, line) in ROLES.items():
            if column in one:
                ax.plot(one.index, one[column], color=color, ls=line)
        ax.set_title(fitting(label, ax), pad=3)
    axes[0].xaxis.set_major_locator(EPOCH)
    caption = f"Memorisation {where}: accuracy on the given and the true labels of the training set, and on test."
    return Drawing("memorisation", caption, axes[0].figure, table.loc[labels])  # type: ignore[arg-type]  # no subfigure


def gradient_share(
    means: pd.DataFrame, front: list[str], looks: dict[str, Style], noisy: float, width: float, where: str
) -> Drawing:
    """Share of the gradient (norms at the text features) that mislabelled samples contribute, over epochs.

    Args:
        means: As `over_epochs` gives it, of runs at one noise rate.
        front: Labels to highlight.
        looks: Of the labels.
        noisy: The share of mislabelled samples, drawn dashed: above it a wrong label weighs more than a right one.
        width: Inches.
        where: Which runs, for the caption.
    """
    share = (100 * means["grad_noisy"] / (means["grad_noisy"] + means["grad_clean"])).dropna()
    table, std = (share.groupby(level=["epoch", "label"]).agg(how).unstack("label") for how in ("mean", "std"))  # noqa: PD010 - nothing is aggregated
    front = [label for label in front if label in table]
    legend = [
        *handles(front, looks, table.shape[1] > len(front)),
        Line2D([], [], label="share of samples", color=SOFT, ls="--", lw=1),
    ]
    (ax,) = panels(1, width, min(2.4, 0.6 * width), legend, "epoch", "gradient of mislabelled, %")
    lines(ax, table, front, looks, std, marked=False)
    ax.axhline(100 * noisy, color=SOFT, ls="--", lw=1)
    ax.xaxis.set_major_locator(EPOCH)
    caption = (
        f"Share of the gradient norm that mislabelled samples contribute {where}; dashed: their share of the samples; bands: ± 1 "
        f"standard "
        "deviation over seeds."
    )
    data = table.join(std.add_suffix(" std")).assign(share_of_samples=100 * noisy)
    return Drawing("gradient_share", caption, ax.figure, data)  # type: ignore[arg-type]  # no subfigure


def detection(analysis: Analysis, looks: dict[str, Style], width: float) -> Drawing | None:
    """How well a belief finds the clean samples, against noise rate: precision and recall, and area under the ROC curve."""
    names = {"belief_precision": "precision, %", "belief_recall": "recall, %", "belief_auroc": "area under ROC, %"}
    runs = cells.of_protocol(analysis.runs, analysis.protocol)
    noisy = runs[(runs["rate"] > 0) & runs["belief_precision"].notna()]
    if noisy.empty:
        return None
    believers = set(noisy["label"])
    labels = [label for label in analysis.trained if label in believers]
    front = foremost(labels, analysis.control)
    legend = [
        *handles(front, looks, len(labels) > len(front)),
        Line2D([], [], label="without knowledge", color=SOFT, ls="--", lw=1),
    ]
    axes = panels(3, width, min(1.7, 0.32 * width), legend, f"{analysis.protocol} noise, % of labels", "")
    prevalence = 100 * (1 - noisy.groupby("rate")["realised_rate"].mean())
    chance = pd.DataFrame({"belief_precision": prevalence, "belief_auroc": 50.0})
    per_seed = noisy.groupby(["rate", "label", "seed"])[list(names)].mean()
    by_rate = per_seed.groupby(level=["rate", "label"])
    for ax, (column, name) in zip(axes, names.items(), strict=True):
        mean, std = (by_rate[column].agg(how).unstack("label") for how in ("mean", "std"))  # noqa: PD010 - nothing is aggregated
        lines(ax, mean, front, looks, std)
        if column in chance:
            ax.plot(chance.index, chance[column], color=SOFT, ls="--", lw=1)
        ax.set_title(name, pad=3)
    rates = sorted(noisy["rate"].unique())
    axes[0].set_xticks(rates, [f"{100 * rate:g}" for rate in rates])
    caption = (
        "How well the methods that hold a belief find the clean samples; bands: ± 1 standard deviation over seeds; dashed: a "
        "belief that knows nothing (precision: the share of clean samples)."
    )
    data = by_rate.mean().join(by_rate.std().add_suffix(" std")).join(chance.add_suffix(" without knowledge"), on="rate")
    return Drawing("detection", caption, axes[0].figure, data)  # type: ignore[arg-type]  # no subfigure


def loss_gradients(curves: pd.DataFrame, front: list[str], looks: dict[str, Style], width: float) -> Drawing:
    """Norm of each loss's gradient at the logits against the probability of the given label.

    Args:
        curves: The CSV of `bench curves`: method, p_y, gradient_norm, classes, rest.
        front: Registered names to highlight.
        looks: Of registered names.
        width: Inches.
    """
    one = curves[(curves["classes"] == curves["classes"].min()) & (curves["rest"] == "one")]
    table = one.pivot_table(index="p_y", columns="method", values="gradient_norm")
    front = [name for name in front if name in table] or foremost(list(table), CONTROL)
    legend = handles(front, looks, table.shape[1] > len(front))
    (ax,) = panels(1, width, min(2.4, 0.6 * width), legend, "probability of the given label", "gradient norm at the logits")
    lines(ax, table, front, looks, marked=False)
    ax.set_ylim(0, 1.05 * float(np.nanpercentile(table.to_numpy(), 99)))
    caption = (
        "Gradient of each loss at the logits against the probability of the given label (`bench curves`); the rest of the "
        "probability lies on "
        "one other class."
    )
    return Drawing("loss_gradients", caption, ax.figure, table)  # type: ignore[arg-type]  # no subfigure


def epochs(results: Results, analysis: Analysis, looks: dict[str, Style], width: float) -> Iterator[Drawing]:
    """The figures over epochs, at the highest rate that counts."""
    rows = cells.scored(analysis.runs[analysis.runs["trained"]], analysis.protocol)
    rate, front = float(rows["rate"].max()), highlighted(analysis)
    rows = rows[rows["rate"] == rate]
    means = over_epochs(results.history(list(rows["run_id"])), rows)
    where = f"at {cells.setting_name(analysis.protocol, rate)}, mean over datasets and seeds"
    if means.get("train_given", means.get("train_true", pd.Series(dtype=float))).notna().any():
        yield memorisation(means, front, width, where)
    if rate > 0 and {"grad_clean", "grad_noisy"} <= set(means) and means["grad_noisy"].notna().any():
        yield gradient_share(means, front, looks, float(rows["realised_rate"].mean()), width, where)
