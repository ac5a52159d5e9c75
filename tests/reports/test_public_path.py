"""Simulations from the tidy frame to the verdict, as `bench report` goes: false positives and power of what is claimed."""

import numpy as np
import pandas as pd
import pytest

from reports import cells, statistics
from reports.analysis import Choices, analyse

NOISE = (("clean", 0.0), ("symmetric", 0.25), ("symmetric", 0.5), ("symmetric", 0.75))
REPLICATES = 2000
SD = 2.0  # points by which the difference of two methods varies between datasets; seeds add .8


def adjusted(sim, monkeypatch, effects, replicates, seed):
    """Holm-adjusted p of every method against coop_ce, a row per replicate: a new frame each, through `analyse`."""
    monkeypatch.setattr(statistics, "mean_interval", lambda *_: (0.0, 0.0))  # no part of the verdict, and nine tenths of the time
    base = sim.simulate(5, 11, 2, noise=NOISE, effects={}, spread=0.0, seed_sd=0.0, rng=seed)
    rng = np.random.default_rng(seed)
    trained = (base["method"] != "zero_shot").to_numpy()
    method, dataset = pd.factorize(base["method"])[0], pd.factorize(base["dataset"])[0]
    gain = base["method"].map(effects).fillna(0.0).to_numpy()
    rows = []
    for _ in range(replicates):
        own = rng.normal(0, SD / np.sqrt(2), (method.max() + 1, dataset.max() + 1))
        accuracy = base["accuracy"].to_numpy() + (gain + own[method, dataset] + rng.normal(0, 0.8, len(base))) * trained
        rows.append(analyse(base.assign(accuracy=accuracy), Choices()).versus["p_holm"])
    return pd.DataFrame(rows).drop(columns="zero_shot")


@pytest.mark.long
def test_at_most_7_percent_of_reports_claim_something_where_there_is_nothing(sim, monkeypatch):
    p = adjusted(sim, monkeypatch, {}, REPLICATES, 1)
    assert (p <= 0.05).any(axis=1).mean() <= 0.07


@pytest.mark.long
def test_a_gain_of_4_points_is_found_in_at_least_80_percent(sim, monkeypatch):
    p = adjusted(sim, monkeypatch, {"gce": 4.0}, REPLICATES, 2)
    assert (p["gce"] <= 0.05).mean() >= 0.80


def test_the_same_on_30_reports(sim, monkeypatch):
    assert (adjusted(sim, monkeypatch, {}, 30, 3) <= 0.05).any(axis=1).mean() <= 0.2
    assert (adjusted(sim, monkeypatch, {"gce": 6.0}, 30, 4)["gce"] <= 0.05).mean() >= 0.8


def test_more_seeds_or_rates_never_add_datasets(sim):
    """The trap that statistics over single runs fall into: more repeated measures do not make p smaller than n datasets allow."""
    for seeds, noise in ((1, NOISE), (5, NOISE), (2, (*NOISE, ("symmetric", 0.1), ("symmetric", 0.6)))):
        analysis = analyse(sim.simulate(2, 6, seeds, noise=noise, effects={"gce": 30.0}))
        assert analysis.versus.loc["gce", "p"] == statistics.smallest_p(6) == 0.03125
        assert len(cells.primary_scores(analysis.runs, "symmetric")) == 6
