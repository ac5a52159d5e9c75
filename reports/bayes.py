"""Bayesian signed-rank test with a region of practical equivalence, and what may be said after it.

Benavoli et al., "A Bayesian Wilcoxon signed-rank test based on the Dirichlet process", ICML 2014; "Time for a change", JMLR 2017.
"""

from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from reports.statistics import FEWEST, ROUND, Floats

SAMPLES = 20_000  # Monte Carlo error of a probability near .95: .0015
PRIOR = 0.5  # weight of the pseudo-observation "no difference"
SURE = 0.95  # a probability from which something is said

Verdict = Literal["better", "worse", "equivalent", "undecided"]


class Posterior(NamedTuple):
    """Probabilities that the first method is practically worse, equivalent and better; they sum to 1."""

    worse: float
    equivalent: float
    better: float


@cache
def _weights(datasets: int, samples: int, seed: int) -> Floats:
    """Dirichlet weights [samples × (1 + datasets)], the prior's observation first."""
    return np.random.default_rng(seed).dirichlet(np.array([PRIOR, *[1.0] * datasets]), samples)


def signed_rank(differences: Floats, rope: float, samples: int = SAMPLES, seed: int = 0) -> Posterior:
    """The posterior of paired differences over datasets.

    In each draw w of the weights, the mass of pairs whose mean difference lies below, within and above ± rope is Σ w_i w_j over
    these pairs; a probability is the share of draws in which its mass is the largest.

    Args:
        differences: Points, one per dataset.
        rope: Half the width of the region of practical equivalence, points; 0 leaves out equivalence.
        samples: Draws.
        seed: Of the draws.
    """
    d = np.concatenate([[0.0], np.round(np.asarray(differences, dtype=float), ROUND)])
    sums, w = d[:, None] + d[None, :], _weights(len(d) - 1, samples, seed)

    def mass(pairs: Floats) -> Floats:
        total: Floats = ((w @ pairs) * w).sum(axis=1)
        return total

    above = mass(np.heaviside(np.round(sums - 2 * rope, ROUND), 0.5))
    below = mass(np.heaviside(np.round(-sums - 2 * rope, ROUND), 0.5))
    within = 1 - above - below if rope > 0 else np.full(samples, -1.0)
    largest = np.argmax(np.stack([below, within, above]), axis=0)
    worse, equivalent, better = np.bincount(largest, minlength=3) / samples
    return Posterior(float(worse), float(equivalent), float(better))


def verdict(posterior: Posterior) -> Verdict:
    """What may be said: the outcome whose probability is at least .95; of one pair, without correction for many."""
    outcomes: dict[Verdict, float] = {"worse": posterior.worse, "equivalent": posterior.equivalent, "better": posterior.better}
    return next((name for name, p in outcomes.items() if p >= SURE), "undecided")


def sentence(first: str, second: str, posterior: Posterior, rope: float) -> str:
    """The verdict in words, with its probabilities."""
    found = verdict(posterior)
    if found == "equivalent":
        return f"{first} and {second} are practically equivalent (within {rope:g} points): P = {posterior.equivalent:.2f}."
    if found in ("better", "worse"):
        p = posterior.better if found == "better" else posterior.worse
        return f"{first} is {found} than {second} by more than {rope:g} points: P = {p:.2f}."
    odds = [f"P({name}) = {p:.2f}" for name, p in zip(("worse", f"within {rope:g} points", "better"), posterior, strict=True)]
    return f"Between {first} and {second} nothing is decided: {', '.join(odds)}."


def against(scores: pd.DataFrame, control: str, rope: float) -> pd.DataFrame:
    """The posteriors of all methods against one.

    Args:
        scores: Percent, [datasets × labels].
        control: The label to compare with.
        rope: Points.

    Returns:
        p_worse, p_equivalent, p_better per label; NaN below 6 datasets, where two that agree are already "sure".
    """
    labels = [str(label) for label in scores if label != control]
    enough = len(scores) >= FEWEST
    unknown = Posterior(np.nan, np.nan, np.nan)
    rows = [signed_rank((scores[label] - scores[control]).to_numpy(dtype=float), rope) if enough else unknown for label in labels]
    return pd.DataFrame(rows, index=pd.Index(labels, name="label"), columns=["p_worse", "p_equivalent", "p_better"])
