"""The tests against Demšar's paper, scipy's permutation test, Holm by hand, and simulations."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.errors import BenchError
from reports import friedman, statistics

# Demšar 2006, table 6: AUC of C4.5 with four settings on 14 datasets.
DEMSAR = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967], [0.628, 0.661, 0.654, 0.657],
    [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931], [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625],
    [0.775, 0.838, 0.866, 0.875], [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip


def test_friedman_is_demsars_example():
    result = friedman.friedman(DEMSAR)
    assert result.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=1e-3)
    # The paper: χ² = 9.28 and F = 3.69, ties uncorrected. By hand: one row of four ties and three pairs, so Σ(t³ - t) = 60 + 3·6.
    plain = 12 * 14 / (4 * 5) * (sum(result.ranks**2) - 4 * 5**2 / 4)
    assert plain == pytest.approx(9.28, abs=0.01)
    assert 13 * plain / (14 * 3 - plain) == pytest.approx(3.69, abs=0.01)
    corrected = plain / (1 - (60 + 3 * 6) / (14 * 4 * (4**2 - 1)))
    assert result.statistic == pytest.approx(13 * corrected / (14 * 3 - corrected))
    assert result.df == (3, 39)
    assert result.p == pytest.approx(stats.f.sf(result.statistic, 3, 39))


def test_nemenyi_distance_is_demsars():
    assert friedman.nemenyi_distance(4, 14) == pytest.approx(1.25, abs=0.005)  # section 3.2.2: CD = 2.569 √(4·5 / 6·14)
    assert [friedman.nemenyi_distance(k, 11) for k in (8, 10, 12, 15)] == pytest.approx([3.17, 4.08, 5.02, 6.47], abs=0.01)


def test_friedmans_statistic_is_scipys_with_ties():
    rng = np.random.default_rng(6)
    for _ in range(20):
        scores = np.round(rng.normal(0, 1, (9, 5)), 0)
        chi = stats.friedmanchisquare(*scores.T).statistic
        assert friedman.friedman(scores).statistic == pytest.approx(8 * chi / (9 * 4 - chi), rel=1e-9)


def test_friedman_of_equal_methods_finds_nothing():
    assert friedman.friedman(np.ones((5, 3))).p == 1.0


def test_friedman_needs_three_methods():
    with pytest.raises(BenchError, match="at least 3 methods"):
        friedman.friedman(np.ones((5, 2)))


def brute_force(differences):
    """Two-sided Pratt p by trying every sign."""
    d = np.round(np.asarray(differences, dtype=float), 9)
    ranks = stats.rankdata(np.abs(d))[d != 0]
    seen = abs((ranks * np.sign(d[d != 0])).sum())
    sums = [abs(sum(r * s for r, s in zip(ranks, signs, strict=True))) for signs in itertools.product((-1, 1), repeat=len(ranks))]
    return float(np.mean([value >= seen - 1e-9 for value in sums]))


@pytest.mark.parametrize("kind", ["plain", "ties", "zeros", "both"])
def test_wilcoxon_is_the_full_enumeration(kind):
    rng = np.random.default_rng(3)
    for _ in range(20):
        d = rng.normal(0.3, 1, 9)
        if kind in ("ties", "both"):
            d = np.round(d, 0) + 0.1
        if kind in ("zeros", "both"):
            d[rng.integers(0, 9, 2)] = 0.0
        assert statistics.wilcoxon(d) == pytest.approx(brute_force(d), abs=1e-12)


def test_wilcoxon_is_scipys_exact_test_without_ties():
    rng = np.random.default_rng(4)
    for n in (5, 11, 25):
        d = rng.normal(0.4, 1, n)
        assert statistics.wilcoxon(d) == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=1e-10)


def test_wilcoxon_is_demsars_example():
    # Table 2: C4.5 against C4.5+m; the paper finds min(R+, R-) = 12 below the critical 21 for α = .05 and 14 datasets.
    p = statistics.wilcoxon(DEMSAR[:, 3] - DEMSAR[:, 0])
    assert p < 0.05


def test_wilcoxon_rounds_away_floating_point_dust():
    assert statistics.wilcoxon(np.array([0.1 + 0.2 - 0.3] * 8)) == 1.0


def test_smallest_p_is_what_a_clean_sweep_gets():
    for n, p in ((6, 0.03125), (8, 0.0078125), (10, 0.001953125), (11, 0.0009765625)):
        assert statistics.smallest_p(n) == p == statistics.wilcoxon(np.arange(1.0, n + 1))


def test_attainable_says_when_nothing_can_be_shown():
    assert "no comparison can become significant" in statistics.attainable(4, 5)
    assert "can be reached" in statistics.attainable(11, 5)
    assert "makes it 0.062" in statistics.attainable(8, 8)


def test_holm_by_hand():
    # Sorted .01, .02, .03, .04 times 4, 3, 2, 1 is .04, .06, .06, .04; made monotone: .04, .06, .06, .06.
    assert statistics.holm(np.array([0.04, 0.01, 0.03, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm(np.array([])).shape == (0,)


def test_holm_is_statsmodels():
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(5)
    for m in (1, 2, 7, 25):
        p = np.round(rng.uniform(0, 0.2, m), 2)
        assert statistics.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_rank_biserial_and_wins_by_hand():
    d = np.array([3.0, 0.2, -1.0, 0.0])  # Pratt's ranks: zero 1, .2 2, 1 3, 3 4
    assert statistics.rank_biserial(d) == pytest.approx((4 + 2 - 3) / 9)
    assert statistics.win_tie_loss(d, 0.5) == (1, 2, 1)
    assert statistics.rank_biserial(np.zeros(4)) == 0.0


def test_interval_of_a_constant_is_the_constant():
    assert statistics.mean_interval(np.full(6, 1.5)) == (1.5, 1.5)


def test_all_pairs_is_symmetric_and_finds_the_odd_one():
    rng = np.random.default_rng(1)
    scores = pd.DataFrame(rng.normal(60, 5, (12, 1)) + rng.normal(0, 0.5, (12, 4)), columns=list("abcd"))
    scores["d"] += 5
    p = statistics.all_pairs(scores)
    assert (p.to_numpy() == p.to_numpy().T).all()
    assert (p.loc["d", ["a", "b", "c"]] < 0.05).all()
    assert (p.loc[["a", "b", "c"], ["a", "b", "c"]] > 0.05).all().all()
    assert statistics.marked(scores) == ("d", set())


def test_few_datasets_call_nobody_tied():
    scores = pd.DataFrame({"a": [70.0, 60, 50, 40], "b": [60.0, 50, 40, 30]})
    assert statistics.marked(scores) == ("a", set())


def simulated_matrix(rng, datasets=11, methods=6, effect=0.0, sd=2.0):
    level = rng.normal(65, 12, (datasets, 1))
    scores = level + rng.normal(0, sd / np.sqrt(2), (datasets, methods))  # a difference of two methods has SD `sd`
    scores[:, 1] += effect
    return pd.DataFrame(scores, columns=[f"m{i}" for i in range(methods)])


def test_family_wise_error_and_power_of_simulated_matrices(monkeypatch):
    """Under a true null at most 7 % of reports claim anything; a true gain of 1.75 SD is found in at least 80 %."""
    monkeypatch.setattr(statistics, "mean_interval", lambda *_: (0.0, 0.0))  # no part of it, and most of the time
    rng = np.random.default_rng(11)

    def adjusted(effect):
        return statistics.against_control(simulated_matrix(rng, effect=effect), "m0")["p_holm"]

    assert np.mean([(adjusted(0.0) <= 0.05).any() for _ in range(500)]) <= 0.07
    assert np.mean([adjusted(3.5)["m1"] <= 0.05 for _ in range(100)]) >= 0.80
