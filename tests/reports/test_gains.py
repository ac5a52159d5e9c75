"""Interquartile means, bootstraps, profiles, probability of improvement: by hand and against scipy."""

import numpy as np
import pytest
from scipy import stats

from reports import cells, gains


def test_gains_are_accuracy_minus_zero_shot_cell_by_cell(sim):
    frame = sim.simulate(3, 4, 2)
    found = gains.gains_of(cells.spread(sim.comparable(frame)), "symmetric", ["sce", "zero_shot", "coop_ce", "gce"])
    assert found.labels == ["sce", "coop_ce", "gce"]
    assert found.rates == [0.25, 0.5, 0.75]
    assert found.points.shape == (3, 4, 3, 2)
    datasets = sorted(frame["dataset"].unique())
    row = frame[(frame["method"] == "gce") & (frame["dataset"] == datasets[1]) & (frame["rate"] == 0.5) & (frame["seed"] == 2)]
    assert found.points[2, 1, 1, 1] == pytest.approx((row["accuracy"] - row["zero_shot"]).item())


def test_interquartile_mean_by_hand():
    assert gains.interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == pytest.approx((2 + 3 + 4 + 5) / 4)
    for n in range(1, 12):
        values = np.random.default_rng(n).normal(0, 1, (3, n))
        assert gains.interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=1))


def test_reruns_are_students_t_of_the_seeds_joint_means():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 1, (4, 2, 3))
    values = [gains.interquartile_mean(points[:, :, s].ravel()) for s in range(3)]
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert gains.rerunning(points) == pytest.approx(expected)
    assert np.isnan(gains.rerunning(points[:, :, :2])).all()


def test_probability_of_improvement_by_hand():
    first, second = np.array([[[1.0, 3.0]]]), np.array([[[1.0, 2.0]]])  # 1=1 ½, 1<2 0, 3>1 1, 3>2 1
    assert gains.probability_of_improvement(first, second) == pytest.approx(2.5 / 4)
    assert gains.probability_of_improvement(first, first) == 0.5


def test_profile_is_the_share_above():
    found = gains.Gains(["a"], [0.5], np.array([-1.0, 0.0, 2.0, 5.0]).reshape(1, 2, 1, 2))
    shares = gains.profiles(found, 7)[0]["a"]
    assert shares.loc[0.0] == 0.5  # 2 and 5 are above 0; 0 is not
    assert shares.loc[-1.0] == 0.75
    assert shares.iloc[-1] == 0.0


def test_intervals_hold_the_estimate_and_datasets_vary_more(sim):
    runs = cells.spread(sim.comparable(sim.simulate(3, 8, 3, spread=4.0, seed_sd=0.3)))
    table = gains.summary(gains.gains_of(runs, "symmetric", ["coop_ce", "gce", "sce"]), "coop_ce")
    for side in ("seeds", "datasets"):
        assert (table[f"{side}_low"] <= table["iqm"]).all()
        assert (table["iqm"] <= table[f"{side}_high"]).all()
    assert (table["datasets_high"] - table["datasets_low"] > 3 * (table["seeds_high"] - table["seeds_low"])).all()
    assert np.isnan(table.loc["coop_ce", "improvement"])
    assert table.loc["gce", "improvement"] > 0.5
