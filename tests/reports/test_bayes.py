"""The Bayesian signed-rank test against an independent computation and recorded values, and the sentences it allows."""

import numpy as np
import pandas as pd
import pytest

from reports import bayes
from reports.bayes import Posterior

DIFFERENCES = np.array([0.3, -0.2, 1.4, 0.9, 0.1, 2.2, -0.6, 0.5, 0.0, 1.1, 0.7])


def independent(d, rope, draws=1500):
    """The same posterior by gamma variates and loops over pairs."""
    rng = np.random.default_rng(99)
    z, alpha = np.concatenate([[0.0], d]), np.concatenate([[0.5], np.ones(len(d))])
    mean = np.round((z[:, None] + z) / 2, 9)
    edge = np.abs(mean) == rope
    sides = [(mean < -rope) + edge * (mean < 0) / 2, (np.abs(mean) < rope) + edge / 2, (mean > rope) + edge * (mean > 0) / 2]
    wins = np.zeros(3)
    for _ in range(draws):
        w = rng.gamma(alpha)
        w /= w.sum()
        wins[np.argmax([w @ side @ w for side in sides])] += 1
    return wins / draws


@pytest.mark.parametrize("rope", [0.25, 0.5, 1.0])
def test_posterior_agrees_with_an_independent_computation(rope):
    assert bayes.signed_rank(DIFFERENCES, rope) == pytest.approx(independent(DIFFERENCES, rope), abs=0.04)


def test_posterior_is_a_distribution_and_mirrors():
    here, there = bayes.signed_rank(DIFFERENCES, 0.5), bayes.signed_rank(-DIFFERENCES, 0.5)
    assert sum(here) == pytest.approx(1)
    assert (there.worse, there.equivalent, there.better) == pytest.approx((here.better, here.equivalent, here.worse), abs=1e-12)


def test_without_a_rope_nothing_is_equivalent():
    posterior = bayes.signed_rank(DIFFERENCES, 0.0)
    assert posterior.equivalent == 0.0
    assert posterior.better > 0.9


def test_verdicts_follow_from_the_numbers():
    assert bayes.verdict(bayes.signed_rank(np.full(11, 0.05), 0.5)) == "equivalent"
    assert bayes.verdict(bayes.signed_rank(np.full(11, 3.0), 0.5)) == "better"
    assert bayes.verdict(bayes.signed_rank(np.full(11, -3.0), 0.5)) == "worse"
    assert bayes.verdict(bayes.signed_rank(np.linspace(-2, 3, 11), 0.5)) == "undecided"
    assert bayes.verdict(Posterior(0.0, 0.9499, 0.0501)) == "undecided"
    assert bayes.verdict(Posterior(0.0, 0.95, 0.05)) == "equivalent"


@pytest.mark.parametrize(
    ("posterior", "sentence"),
    [
        (Posterior(0.01, 0.97, 0.02), "dspt and mae are practically equivalent (within 0.5 points): P = 0.97."),
        (Posterior(0.00, 0.01, 0.99), "dspt is better than mae by more than 0.5 points: P = 0.99."),
        (Posterior(0.96, 0.04, 0.00), "dspt is worse than mae by more than 0.5 points: P = 0.96."),
        (
            Posterior(0.2, 0.3, 0.5),
            "Between dspt and mae nothing is decided: P(worse) = 0.20, P(within 0.5 points) = 0.30, P(better) = 0.50.",
        ),
    ],
)
def test_sentences(posterior, sentence):
    assert bayes.sentence("dspt", "mae", posterior, 0.5) == sentence


def test_against_is_the_posterior_of_each_difference():
    scores = pd.DataFrame({"c": np.zeros(11), "x": DIFFERENCES})
    assert bayes.against(scores, "c", 0.5).loc["x"].tolist() == pytest.approx(list(bayes.signed_rank(DIFFERENCES, 0.5)))


def test_equal_methods_are_seldom_called_different():
    """2,000 true nulls with differences of SD 2 and a rope of .5: a claimed difference in at most 7 %."""
    rng = np.random.default_rng(7)
    verdicts = [bayes.verdict(bayes.signed_rank(rng.normal(0, 2, 11), 0.5, samples=500)) for _ in range(2000)]
    assert np.mean([v in ("better", "worse") for v in verdicts]) <= 0.07
