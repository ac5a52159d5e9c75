"""The tests of all methods at once: Friedman's, and Nemenyi's distance of mean ranks.

See Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from bench.errors import BenchError
from reports.statistics import ALPHA, ROUND, Floats


class Friedman(NamedTuple):
    """Do the methods differ at all? Iman-Davenport's F of Friedman's test, ties corrected."""

    statistic: float
    df: tuple[int, int]
    p: float
    ranks: Floats  # [methods] mean ranks, 1 is best


def friedman(scores: Floats) -> Friedman:
    """Friedman's test of [datasets × methods] with Iman and Davenport's F (Comm. Stat. 1980).

    Raises:
        BenchError: Fewer than three methods or two datasets.
    """
    scores = np.round(np.asarray(scores, dtype=float), ROUND)
    n, k = scores.shape
    if k < 3 or n < 2:
        raise BenchError(f"Friedman's test needs at least 3 methods and 2 datasets; there are {k} and {n}.")
    ranks = stats.rankdata(-scores, axis=1).mean(axis=0)
    if (scores == scores[:, :1]).all():  # all tied: no evidence, and scipy divides by zero
        return Friedman(0.0, (k - 1, (k - 1) * (n - 1)), 1.0, ranks)
    chi = float(stats.friedmanchisquare(*scores.T).statistic)
    room = n * (k - 1) - chi
    df = (k - 1, (k - 1) * (n - 1))
    statistic = np.inf if room <= 1e-12 else (n - 1) * chi / room
    return Friedman(float(statistic), df, float(stats.f.sf(statistic, *df)), ranks)


def nemenyi_distance(methods: int, datasets: int, alpha: float = ALPHA) -> float:
    """The critical difference of mean ranks (Nemenyi; Demšar 2006, eq. 2-6): q / √2 · √(k (k + 1) / 6 n)."""
    q = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * datasets)))
