"""The tests and effects of a report: pure functions of a matrix [datasets × methods], in accuracy points.

The dataset is the experimental unit: a row holds one score per method on one dataset, averaged over seeds and rates beforehand.
Tests on dataset × rate or on single runs as blocks are refused by construction: repeated measures on the same images are not
independent (20 to 60 % false positives at nominal 5 %).
See Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bench.errors import BenchError

Floats = NDArray[np.float64]
ALPHA = 0.05
ROUND = 9  # decimals that differences keep: 0.1 + 0.2 - 0.3 is no difference


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


def signed_ranks(differences: Floats) -> tuple[Floats, Floats]:
    """Pratt's signed ranks: zeros are ranked, then dropped. Returns the ranks [m] and signs [m] of the m non-zero differences."""
    differences = np.round(np.asarray(differences, dtype=float), ROUND)
    ranks, nonzero = stats.rankdata(np.abs(differences)), differences != 0
    return ranks[nonzero], np.sign(differences[nonzero])


def wilcoxon(differences: Floats) -> float:
    """Two-sided exact p of Wilcoxon's signed-rank test, zeros by Pratt, ties allowed.

    scipy leaves the exact distribution when there are ties or zeros, so it is counted here: each rank takes either sign with
    probability ½, and the sum of the positive ones is convolved rank by rank (twice the ranks, since ties have half ranks).
    """
    ranks, signs = signed_ranks(differences)
    doubled = np.rint(2 * ranks).astype(int)
    total, seen = int(doubled.sum()), int(doubled[signs > 0].sum())
    chance = np.zeros(total + 1)
    chance[0] = 1.0
    for rank in doubled:
        shifted = np.zeros_like(chance)
        shifted[rank:] = chance[: total + 1 - rank]
        chance = (chance + shifted) / 2
    tail = min(seen, total - seen)
    return float(min(1.0, 2 * chance[: tail + 1].sum()))


def holm(p: Floats) -> Floats:
    """Step-down Holm adjusted p values [m] (Holm, Scand. J. Stat. 1979).

    As statsmodels' `multipletests`, which runs Python's garbage collector at every call: 40 ms, thousands of times in a simulation.
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def smallest_p(datasets: int) -> float:
    """The smallest two-sided exact p that n datasets can give: 2 / 2^n."""
    return min(1.0, 2.0 ** (1 - datasets))


def attainable(datasets: int, comparisons: int, alpha: float = ALPHA) -> str:
    """What this many datasets can show at all, as a sentence."""
    least, adjusted = smallest_p(datasets), min(1.0, smallest_p(datasets) * max(comparisons, 1))
    verdict = (
        "so significance can be reached" if adjusted <= alpha else "so no comparison can become significant, whatever the data"
    )
    return (
        f"With {datasets} datasets the smallest attainable two-sided p is {least:.2g}; "
        f"Holm over {comparisons} comparison{'s' * (comparisons != 1)} makes it {adjusted:.2g}, {verdict} at {alpha:g}."
    )


def rank_biserial(differences: Floats) -> float:
    """Matched-pairs rank-biserial correlation in [-1, 1]: (W+ - W-) / (W+ + W-) (Kerby, 2014)."""
    ranks, signs = signed_ranks(differences)
    return float((ranks * signs).sum() / ranks.sum()) if len(ranks) else 0.0


def win_tie_loss(differences: Floats, margin: float) -> tuple[int, int, int]:
    """On how many datasets the difference is above, within and below ± `margin` points."""
    differences = np.round(np.asarray(differences, dtype=float), ROUND)
    wins, losses = int((differences > margin).sum()), int((differences < -margin).sum())
    return wins, len(differences) - wins - losses, losses


def mean_interval(differences: Floats, seed: int = 0, resamples: int = 9_999) -> tuple[float, float]:
    """95 % bootstrap interval (BCa) of a mean over datasets: how it would generalise to others."""
    differences = np.asarray(differences, dtype=float)
    if len(differences) < 2:
        return float("nan"), float("nan")
    if np.ptp(differences) < 1e-9:
        return float(differences[0]), float(differences[0])
    result = stats.bootstrap(
        (differences,), np.mean, n_resamples=resamples, confidence_level=0.95, method="BCa", rng=np.random.default_rng(seed)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def against_control(scores: pd.DataFrame, control: str, margin: float = 0.5) -> pd.DataFrame:
    """Every method against one control over datasets.

    Args:
        scores: Percent, [datasets × labels], complete.
        control: The label to compare with.
        margin: Points within which a dataset counts as a tie.

    Returns:
        Per label: difference (mean, points), p (exact Wilcoxon), p_holm, wins, ties, losses, rank_biserial.
    """
    labels = [str(label) for label in scores if label != control]
    d = scores[labels].to_numpy(dtype=float) - scores[[control]].to_numpy(dtype=float)
    p = np.array([wilcoxon(column) for column in d.T])
    counts = np.array([win_tie_loss(column, margin) for column in d.T], dtype=int).reshape(-1, 3)
    columns = {"difference": d.mean(axis=0), "p": p, "p_holm": holm(p), "wins": counts[:, 0], "ties": counts[:, 1],
               "losses": counts[:, 2], "rank_biserial": [rank_biserial(column) for column in d.T]}  # fmt: skip
    return pd.DataFrame(columns, index=pd.Index(labels, name="label"))


def intervals(scores: pd.DataFrame, control: str) -> pd.DataFrame:
    """The bootstrap intervals of the mean differences to a control: low and high per label, points."""
    labels = [str(label) for label in scores if label != control]
    rows = [mean_interval((scores[label] - scores[control]).to_numpy(dtype=float)) for label in labels]
    return pd.DataFrame(rows, index=pd.Index(labels, name="label"), columns=["low", "high"])


def all_pairs(scores: pd.DataFrame) -> pd.DataFrame:
    """Holm-adjusted exact Wilcoxon p of all pairs of methods, [labels × labels], 1 on the diagonal."""
    labels, values = list(scores), scores.to_numpy(dtype=float)
    rows, columns = np.triu_indices(len(labels), 1)
    p = holm(np.array([wilcoxon(values[:, i] - values[:, j]) for i, j in zip(rows, columns, strict=True)]))
    matrix = np.ones((len(labels), len(labels)))
    matrix[rows, columns] = matrix[columns, rows] = p
    return pd.DataFrame(matrix, index=labels, columns=labels)


def nemenyi_distance(methods: int, datasets: int, alpha: float = ALPHA) -> float:
    """The critical difference of mean ranks (Nemenyi; Demšar 2006, eq. 2-6): q / √2 · √(k (k + 1) / 6 n)."""
    q = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * datasets)))


def tied_with_best(scores: pd.DataFrame, alpha: float = ALPHA) -> set[str]:
    """The labels that cannot be told from the one with the best mean: Holm-adjusted exact Wilcoxon p against it above `alpha`.

    The best itself is among them. With few datasets nothing can be told apart, and all are.
    """
    means = scores.mean()
    best = str(means.idxmax())
    others = [label for label in scores if label != best]
    p = holm(np.array([wilcoxon((scores[label] - scores[best]).to_numpy(dtype=float)) for label in others]))
    return {best, *(str(label) for label, value in zip(others, p, strict=True) if value > alpha)}
