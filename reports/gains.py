"""Gain over zero-shot, run by run: interquartile mean, performance profile, probability of improvement.

Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021. Two bootstraps answer two
questions: over seeds, what rerunning the same datasets would give; over datasets, what other datasets would give.
"""

from dataclasses import dataclass
from math import comb

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from reports import cells
from reports.statistics import Floats

RESAMPLES = 2_000


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
    labels = [label for label in order if label in set(rows["label"])]
    shape = (rows["dataset"].nunique(), len(rates), rows["seed"].nunique())
    groups = dict(iter((rows["accuracy"] - rows["zero_shot"]).groupby(rows["label"])))
    return Gains(labels, rates, np.stack([groups[label].to_numpy(dtype=float).reshape(shape) for label in labels]))


def interquartile_mean(values: Floats) -> Floats:
    """Mean of the middle half along the last axis."""
    return np.asarray(stats.trim_mean(values, 0.25, axis=-1), dtype=float)


def distinct_resamples(seeds: int) -> int:
    """How many different bootstrap samples a number of seeds has: 3 seeds have 10."""
    return comb(2 * seeds - 1, seeds)


def _interval(draws: Floats) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def resample_seeds(points: Floats, rng: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """Draws of the gains [datasets × rates × seeds] with seeds resampled within each dataset and rate: [resamples × runs]."""
    d, r, s = points.shape
    chosen: NDArray[np.int64] = rng.integers(0, s, (resamples, d, r, s))
    return np.take_along_axis(points[None], chosen, axis=3).reshape(resamples, -1)


def resample_datasets(points: Floats, rng: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """Draws of the gains [datasets × …] with whole datasets resampled: [resamples × runs]."""
    return points[rng.integers(0, len(points), (resamples, len(points)))].reshape(resamples, -1)


def summary(gains: Gains, control: str = "", seed: int = 0) -> pd.DataFrame:
    """Interquartile means with both intervals, and the probability of improving on the control.

    Returns:
        Per label: iqm, seeds_low, seeds_high (rerunning), datasets_low, datasets_high (other datasets), improvement (NaN where
        there is no control).
    """
    rows = {}
    base = gains.points[gains.labels.index(control)] if control in gains.labels else None
    for label, points in zip(gains.labels, gains.points, strict=True):
        rerun = _interval(interquartile_mean(resample_seeds(points, np.random.default_rng(seed))))
        elsewhere = _interval(interquartile_mean(resample_datasets(points, np.random.default_rng(seed))))
        better = np.nan if base is None or label == control else probability_of_improvement(points, base)
        rows[label] = [float(interquartile_mean(points.ravel())), *rerun, *elsewhere, better]
    columns = ["iqm", "seeds_low", "seeds_high", "datasets_low", "datasets_high", "improvement"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("label")


def probability_of_improvement(first: Floats, second: Floats) -> float:
    """P(a run of the first exceeds one of the second), ties half, over all pairs of seeds; mean over [datasets × rates]."""
    d = first[..., :, None] - second[..., None, :]
    return float(np.mean((d > 0) + 0.5 * (d == 0)))


def profiles(gains: Gains, steps: int = 201) -> pd.DataFrame:
    """Share of runs whose gain exceeds a threshold: [thresholds × labels]."""
    low, high = np.floor(gains.points.min()), np.ceil(gains.points.max())
    thresholds = np.linspace(low, high, steps)
    flat = np.sort(gains.points.reshape(len(gains.labels), -1), axis=1)
    shares = [1 - np.searchsorted(row, thresholds, side="right") / flat.shape[1] for row in flat]
    return pd.DataFrame(np.stack(shares, axis=1), index=pd.Index(thresholds, name="gain"), columns=gains.labels)
