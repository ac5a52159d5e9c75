"""Measured coverage of the intervals that are printed, on normal and skewed differences."""

import numpy as np
import pytest

from reports import statistics

DRAWS = {
    "normal": (lambda rng, n: rng.normal(1.0, 2.0, n), 1.0),
    "exponential": (lambda rng, n: rng.exponential(1.0, n), 1.0),
    "lognormal": (lambda rng, n: rng.lognormal(0.0, 0.8, n), float(np.exp(0.32))),
}


def coverage(kind, datasets, replicates):
    rng, (draw, mean) = np.random.default_rng(datasets), DRAWS[kind]
    spans = [statistics.mean_interval(draw(rng, datasets), seed=i, resamples=999) for i in range(replicates)]
    return np.mean([low <= mean <= high for low, high in spans])


@pytest.mark.long
@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("datasets", [6, 8, 11, 16, 23])
def test_at_least_90_percent_are_covered(kind, datasets):
    assert coverage(kind, datasets, 2000) >= 0.90


@pytest.mark.parametrize("kind", ["normal", "exponential"])
def test_the_same_on_few_draws(kind):
    assert 0.87 <= coverage(kind, 8, 150) <= 0.995


def test_no_interval_below_six():
    assert np.isnan(statistics.mean_interval(np.arange(5.0))).all()
    assert np.isfinite(statistics.mean_interval(np.arange(6.0))).all()
