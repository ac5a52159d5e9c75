"""Gain over zero-shot, run by run: interquartile mean, performance profile, probability of improvement.

Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021. Two bootstraps answer two
questions: over seeds, what rerunning the same datasets would give; over datasets, what other datasets would give.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from reports import cells
from reports.statistics import Floats, mean_interval, t_reach


@dataclass(frozen=True, eq=False)
class Gains:
    """Points over zero-shot, [labels × datasets × rates × seeds], at the noisy rates that are identifiable on every dataset."""

    labels: list[str]
    rates: list[float]
    points: Floats


def gains_of(runs: pd.DataFrame, protocol: str, order: list[str]) -> Gains:
    """The gains of the trained methods, in the given order.

    Args:
        runs: Complete and spread (`reports.cells`).
        protocol: The noise protocol.
        order: Labels; untrained ones are left out.
    """
    rows = cells.scored(runs[runs["trained"]], protocol)
    full = rows.groupby("rate")["dataset"].nunique()
    rates = [float(rate) for rate in full.index[full == full.max()]]
    rows = rows[rows["rate"].isin(rates)].sort_values(["dataset", "rate", "seed"])
    shape = (rows["dataset"].nunique(), len(rates), rows["seed"].nunique())
    groups = dict(iter((rows["accuracy"] - rows["zero_shot"]).groupby(rows["label"])))
    labels = [label for label in order if label in groups]
    return Gains(labels, rates, np.stack([groups[label].to_numpy(dtype=float).reshape(shape) for label in labels]))


def interquartile_mean(values: Floats) -> Floats:
    """Mean of the middle half along the last axis."""
    return np.asarray(stats.trim_mean(values, 0.25, axis=-1), dtype=float)


def rerunning(points: Floats) -> tuple[float, float]:
    """95 % interval of the interquartile mean over reruns: Student's t of its values per seed; NaN below 3 seeds.

    A seed counts as one draw for all datasets together, since its start may be lucky on all of them. A bootstrap of three seeds has
    ten distinct resamples and covers 75 %.

    Args:
        points: [datasets × rates × seeds].
    """
    values = interquartile_mean(np.moveaxis(points, 2, 0).reshape(points.shape[2], -1))
    if len(values) < 3:
        return float("nan"), float("nan")
    reach = float(t_reach(len(values))) * float(values.std(ddof=1)) / np.sqrt(len(values))
    return float(values.mean()) - reach, float(values.mean()) + reach


def summary(gains: Gains, control: str = "") -> pd.DataFrame:
    """Interquartile and plain means with their intervals, and the probability of improving on the control.

    Returns:
        Per label: iqm, seeds_low, seeds_high (rerunning), mean, datasets_low, datasets_high (other datasets; none below 6),
        improvement (NaN where there is no control).
    """
    rows = {}
    base = gains.points[gains.labels.index(control)] if control in gains.labels else None
    for label, points in zip(gains.labels, gains.points, strict=True):
        better = np.nan if base is None or label == control else probability_of_improvement(points, base)
        elsewhere = mean_interval(points.mean(axis=(1, 2)))
        rows[label] = [float(interquartile_mean(points.ravel())), *rerunning(points), float(points.mean()), *elsewhere, better]
    columns = ["iqm", "seeds_low", "seeds_high", "mean", "datasets_low", "datasets_high", "improvement"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("label")


def probability_of_improvement(first: Floats, second: Floats) -> float:
    """P(a run of the first exceeds one of the second), ties half, over all pairs of seeds; mean over [datasets × rates]."""
    d = first[..., :, None] - second[..., None, :]
    return float(np.mean((d > 0) + 0.5 * (d == 0)))


def profiles(gains: Gains, steps: int = 201) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Share of runs whose gain exceeds a threshold, and its standard deviation over seeds: [thresholds × labels] each."""
    low, high = np.floor(gains.points.min()), np.ceil(gains.points.max())
    thresholds = np.linspace(low, high, steps)
    by_seed = np.moveaxis(gains.points, 3, 1).reshape(len(gains.labels), gains.points.shape[3], -1)  # [labels × seeds × runs]
    shares = np.stack([(by_seed > threshold).mean(axis=2) for threshold in thresholds])  # [thresholds × labels × seeds]
    std = shares.std(axis=2, ddof=1) if shares.shape[2] > 1 else np.full(shares.shape[:2], np.nan)
    index = pd.Index(thresholds, name="gain")
    return pd.DataFrame(shares.mean(axis=2), index, gains.labels), pd.DataFrame(std, index, gains.labels)
