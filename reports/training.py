"""Figures over epochs and of the losses: memorisation, gradient share, detection of noise, gradient against probability."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reports.figures import behind, name_axes, panels
from reports.style import RC, Style

ROLES = {
    "train_given": ("given labels", "#D55E00", "-"),
    "train_true": ("true labels", "#0072B2", "-"),
    "accuracy": ("test", "#000000", "--"),
}


def over_epochs(history: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Mean histories per method: the numeric columns averaged over runs, indexed by label and epoch (from 1).

    Args:
        history: As `Results.history` gives it.
        runs: The runs to average over; `run_id` and `label` are read.
    """
    labelled = history.merge(runs[["run_id", "label"]], on="run_id")
    labelled["epoch"] += 1  # recorded from 0
    return labelled.drop(columns="run_id").groupby(["label", "epoch"]).mean()


def _small_multiples(labels: list[str], draw: Callable[[Axes, str], None], x: str, y: str, top: float = 0.35) -> list[Axes]:
    with plt.rc_context(RC):
        fig, axes = panels(len(labels), top=top)
        for ax, label in zip(axes, labels, strict=True):
            draw(ax, label)
            ax.set_title(label)
            if x == "epoch":
                ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        name_axes(fig, x, y)
    return axes


def memorisation(means: pd.DataFrame, order: list[str]) -> list[Axes]:
    """Accuracy over epochs on the given and the true labels of the training set, and on test: a gap that opens is memorisation.

    Args:
        means: As `over_epochs` gives it.
        order: Labels, a panel each.
    """
    labels = [label for label in order if label in means.index.get_level_values("label")]

    def draw(ax: Axes, label: str) -> None:
        one = means.loc[label]
        for column, (name, color, line) in ROLES.items():
            if column in one:
                ax.plot(one.index, one[column], color=color, ls=line, label=name)

    axes = _small_multiples(labels, draw, "epoch", "accuracy, %", top=0.6)
    figure = axes[0].get_figure()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=3, frameon=False, fontsize=9)  # type: ignore[union-attr]  # drawn axes have one
    return axes


def gradient_share(means: pd.DataFrame, order: list[str], looks: dict[str, Style], noisy_share: float) -> list[Axes]:
    """Share of the gradient (norms at the text features) that mislabelled samples contribute, over epochs.

    Args:
        means: As `over_epochs` gives it, of runs at one noise rate.
        order: Labels, a panel each, the others behind in grey.
        looks: Colours.
        noisy_share: The share of mislabelled samples, drawn dashed: above it a wrong label weighs more than a right one.
    """
    share = 100 * means["grad_noisy"] / (means["grad_noisy"] + means["grad_clean"])
    shares = share.unstack("label").dropna(axis=1, how="all")  # noqa: PD010 - nothing is aggregated
    labels = [label for label in order if label in shares]

    def draw(ax: Axes, label: str) -> None:
        behind(ax, shares.drop(columns=label))
        ax.plot(shares.index, shares[label], color=looks[label].color, ls=looks[label].linestyle)
        ax.axhline(100 * noisy_share, color="#555555", ls="--", lw=1)

    return _small_multiples(labels, draw, "epoch", "gradient of mislabelled, %")


def detection(runs: pd.DataFrame, order: list[str], looks: dict[str, Style]) -> list[Axes]:
    """How well a method's belief finds the clean samples, against noise rate: precision, recall and area under the ROC curve.

    Args:
        runs: Runs of one noise protocol; those of methods without a belief hold NaN.
        order: Labels.
        looks: Colours, lines and markers.
    """
    names = {"belief_precision": "precision, %", "belief_recall": "recall, %", "belief_auroc": "area under ROC, %"}
    noisy = runs[(runs["rate"] > 0) & runs["belief_precision"].notna()]
    labels = [label for label in order if label in set(noisy["label"])]
    with plt.rc_context(RC):
        fig, grid = plt.subplots(1, 3, figsize=(8.2, 2.6), layout="constrained", sharex=True)
        for ax, (column, name) in zip(grid, names.items(), strict=True):
            for label in labels:
                mean = noisy[noisy["label"] == label].groupby("rate")[column].mean()
                ax.plot(100 * mean.index, mean, **looks[label].line, label=label)
            ax.set(title=name, xlabel="noise, % of labels", xticks=[100 * rate for rate in sorted(noisy["rate"].unique())])
        handles, shown = grid[0].get_legend_handles_labels()
        fig.legend(handles, shown, loc="outside right center", frameon=False, fontsize=8)
    return list(grid)


def loss_gradients(curves: pd.DataFrame, order: list[str], looks: dict[str, Style]) -> list[Axes]:
    """Norm of each loss's gradient at the logits against the probability of the given label.

    Args:
        curves: The CSV of `bench curves`: method, p_y, gradient_norm, classes, rest.
        order: Methods, a panel each, the others behind in grey.
        looks: Colours.
    """
    one = curves[(curves["classes"] == curves["classes"].min()) & (curves["rest"] == "one")]
    wide = one.pivot_table(index="p_y", columns="method", values="gradient_norm")
    labels = [label for label in order if label in wide] + sorted(set(wide) - set(order))
    top = float(np.nanpercentile(wide.to_numpy(), 99))

    def draw(ax: Axes, label: str) -> None:
        behind(ax, wide[labels].drop(columns=label))
        ax.plot(wide.index, wide[label], color=looks[label].color, ls=looks[label].linestyle)
        ax.set_ylim(0, 1.05 * top)

    return _small_multiples(labels, draw, "probability of the given label", "gradient norm at the logits")
