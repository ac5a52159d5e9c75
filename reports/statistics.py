"""The tests and effects of a report: pure functions of scores [datasets × methods × seeds], in accuracy points.

The dataset is the experimental unit: a row holds one score per method and seed on one dataset, averaged over rates beforehand.
Tests on dataset × rate or on single runs as blocks are refused by construction: repeated measures on the same images are not
independent (20 to 60 % false positives at nominal 5 %).
See Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006.

Scores come as a frame whose rows are datasets and whose columns are labels, or (label, seed).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from reports.wording import counted

Floats = NDArray[np.float64]
ALPHA = 0.05
FEWEST = 6  # datasets: with fewer neither a test can reach 5 % nor an interval its coverage, so nothing is claimed
Claim = Literal["better", "worse", "disagree", "undecided"]
ROUND = 9  # decimals that differences keep: 0.1 + 0.2 - 0.3 is no difference


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
    return _wilcoxon(tuple(np.asarray(differences, dtype=float).tolist()))


@lru_cache(4096)  # several tables of a report ask the same
def _wilcoxon(differences: tuple[float, ...]) -> float:
    ranks, signs = signed_ranks(np.array(differences))
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
        "so significance can be reached" if adjusted <= alpha else "so whatever the data, no comparison can become significant"
    )
    return (
        f"With {counted(datasets, 'dataset')} the smallest attainable two-sided p is {least:.2g}; "
        f"Holm over {counted(comparisons, 'comparison')} makes it {adjusted:.2g}, {verdict} at {alpha:g}."
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


def cubes(scores: pd.DataFrame) -> dict[str, Floats]:
    """The scores of every label, in order: points, [datasets × seeds]."""
    labels, values = scores.columns.get_level_values(0), scores.to_numpy(dtype=float)
    return {str(label): values[:, labels == label] for label in dict.fromkeys(labels)}


def seed_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores averaged over seeds, [datasets × labels]."""
    return pd.DataFrame({label: cube.mean(axis=1) for label, cube in cubes(scores).items()}, index=scores.index)


class Shared(NamedTuple):
    """Variance over seeds of what a seed does to a method on all datasets alike, mean over methods, and its degrees of freedom."""

    variance: float
    df: int


def shared_seeds(methods: Mapping[str, Floats]) -> Shared:
    """How lucky a seed is for a method on all datasets at once; 0 where every dataset has its own draws, or there is one seed.

    Args:
        methods: As `cubes` gives them.
    """
    found = [_shared(cube) for cube in methods.values() if _varies(cube)]
    if not found:
        return Shared(0.0, 1)
    return Shared(max(0.0, float(np.mean(found))), len(found) * (next(iter(methods.values())).shape[1] - 1))


def _varies(cube: Floats) -> bool:
    """Whether seeds differ at all; those of an untrained method do not."""
    return len(cube) > 1 and cube.shape[1] > 1 and float(np.ptp(cube, axis=1).max()) > 0


def _shared(cube: Floats) -> float:
    """The shared variance of one method or difference [datasets × seeds], unbiased, so it may be below 0.

    The seeds' means vary by shared + own / n, the seeds within a dataset by shared + own.
    """
    n = len(cube)
    return float((n * cube.mean(axis=0).var(ddof=1) - cube.var(axis=1, ddof=1).mean()) / max(n - 1, 1))


def difference_p(first: Floats, second: Floats, shared: Shared) -> float:
    """The p of a difference: two-sided exact Wilcoxon over datasets, or where it is larger a t test that knows of shared seeds.

    A seed that is lucky on all datasets looks like a better method to a test over datasets. The t test adds to the variance over
    datasets what seeds share, with Satterthwaite's degrees of freedom (as Clark 1973 for items and subjects): the mean
    over all methods, or the pair's own where that is larger.

    Args:
        first: Points, [datasets × seeds].
        second: The same.
        shared: Of all methods.
    """
    points = first - second
    d, (n, s) = points.mean(axis=1), points.shape
    p = wilcoxon(d)
    if s < 2 or n < 2 or np.ptp(points) < 1e-9:
        return p
    pooled, own = (_varies(first) + _varies(second)) * shared.variance, _shared(points)
    common, df = (pooled, shared.df) if pooled >= own else (own, s - 1)
    of_datasets, of_seeds = d.var(ddof=1) / n, common / s
    spread = of_datasets + of_seeds
    freedom = spread**2 / (of_datasets**2 / (n - 1) + of_seeds**2 / df)
    return max(p, float(2 * special.stdtr(freedom, -abs(d.mean()) / np.sqrt(spread))))  # of Student's t


def claim(p: float, ranks_p: float, differences: Floats) -> Claim:
    """What may be said of differences over datasets: a direction only where the mean and the ranks agree in it.

    Args:
        p: `difference_p`, adjusted.
        ranks_p: Wilcoxon's alone, adjusted.
        differences: One per dataset, points.
    """
    if len(differences) < FEWEST or not ranks_p <= ALPHA:
        return "undecided"
    mean, ranks = float(np.mean(differences)), rank_biserial(differences)
    if mean * ranks <= 0:
        return "disagree"
    return "undecided" if p > ALPHA else "better" if mean > 0 else "worse"


def t_reach(draws: ArrayLike) -> Floats:
    """Standard errors that Student's 95 % interval of a mean of so many draws, two or more, reaches to either side."""
    return np.asarray(stats.t.ppf(0.975, np.asarray(draws, dtype=float) - 1))


def mean_interval(differences: Floats, seed: int = 0, resamples: int = 1_999) -> tuple[float, float]:
    """95 % interval of a mean over datasets, for others like them: on each side the wider of Student's t and bootstrap-t.

    Student's t undercovers where differences are skewed (84 to 90 % at 6 to 11 datasets), the percentile and BCa bootstraps
    wherever datasets are few. The studentised bootstrap (Hall, 1992) repairs both; standard errors stay above .3 of the sample's,
    as resamples of nearly equal values have almost none. NaN below 6 datasets.
    """
    d = np.asarray(differences, dtype=float)
    n = len(d)
    if n < FEWEST or not np.isfinite(d).all():
        return float("nan"), float("nan")
    mean, error = float(d.mean()), float(d.std(ddof=1) / np.sqrt(n))
    if np.ptp(d) < 1e-9:
        return mean, mean
    drawn = d[np.random.default_rng(seed).integers(0, n, (resamples, n))]
    errors = np.maximum(drawn.std(axis=1, ddof=1) / np.sqrt(n), 0.3 * error)
    low, high = np.quantile((drawn.mean(axis=1) - mean) / errors, [0.025, 0.975])
    reach = float(t_reach(n))
    return mean - max(float(high), reach) * error, mean + max(-float(low), reach) * error


def control_p(scores: pd.DataFrame, control: str) -> pd.DataFrame:
    """Per label: difference to the control (mean, points) and p (`difference_p`). Arguments as of `against_control`."""
    methods = cubes(scores)
    shared, base = shared_seeds(methods), methods.pop(control)
    found = {label: (float((cube - base).mean()), difference_p(cube, base, shared)) for label, cube in methods.items()}
    return pd.DataFrame.from_dict(found, orient="index", columns=["difference", "p"]).rename_axis("label")


def against_control(scores: pd.DataFrame, control: str, margin: float = 0.5) -> pd.DataFrame:
    """Every method against one control over datasets.

    Args:
        scores: Percent, [datasets × labels] or [datasets × (label, seed)], complete.
        control: The label to compare with.
        margin: Points within which a dataset counts as a tie.

    Returns:
        Per label: difference (mean, points), low, high (95 % interval), p (`difference_p`), p_holm, wins, ties, losses,
        rank_biserial, claim.
    """
    methods, raw = cubes(scores), control_p(scores, control)["p"].to_numpy(dtype=float)
    base = methods.pop(control)
    ranks = holm(np.array([wilcoxon((cube - base).mean(axis=1)) for cube in methods.values()]))
    rows = []
    for (label, cube), p, p_holm, ranks_p in zip(methods.items(), raw, holm(raw), ranks, strict=True):
        d = (cube - base).mean(axis=1)
        effect = (float(d.mean()), *mean_interval(d), float(p), float(p_holm))
        rows.append((label, *effect, *win_tie_loss(d, margin), rank_biserial(d), claim(p_holm, ranks_p, d)))
    columns = ["label", "difference", "low", "high", "p", "p_holm", "wins", "ties", "losses", "rank_biserial", "claim"]
    return pd.DataFrame(rows, columns=columns).set_index("label")


def all_pairs(scores: pd.DataFrame) -> pd.DataFrame:
    """Holm-adjusted p (`difference_p`) of all pairs of methods, [labels × labels], 1 on the diagonal."""
    methods = cubes(scores)
    labels, values, shared = list(methods), list(methods.values()), shared_seeds(methods)
    rows, columns = np.triu_indices(len(labels), 1)
    p = holm(np.array([difference_p(values[i], values[j], shared) for i, j in zip(rows, columns, strict=True)]))
    matrix = np.ones((len(labels), len(labels)))
    matrix[rows, columns] = matrix[columns, rows] = p
    return pd.DataFrame(matrix, index=labels, columns=labels)


def marked(scores: pd.DataFrame) -> tuple[str, set[str]]:
    """The label with the best mean, and those not significantly worse than it (Holm-adjusted `difference_p` against it above 5 %).

    ("", nobody) where another method is significantly ahead of the best mean by ranks: mean and typical dataset disagree. Nobody is
    called tied below 6 datasets, where nothing could be told apart.
    """
    methods = cubes(scores)
    shared, best = shared_seeds(methods), max(methods, key=lambda label: float(methods[label].mean()))
    base = methods.pop(best)
    adjusted = holm(np.array([difference_p(base, cube, shared) for cube in methods.values()]))
    differences = [(base - cube).mean(axis=1) for cube in methods.values()]
    ranks = holm(np.array([wilcoxon(d) for d in differences]))
    claims = {label: claim(*found) for label, *found in zip(methods, adjusted, ranks, differences, strict=True)}
    if "disagree" in claims.values():
        return "", set()
    return best, {label for label, found in claims.items() if found == "undecided"} if len(scores) >= FEWEST else set()
