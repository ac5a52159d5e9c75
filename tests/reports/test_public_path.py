"""Simulations from the tidy frame to the verdict, as `bench report` goes: false positives and power of what is claimed."""

import numpy as np
import pandas as pd
import pytest

from reports import bayes, statistics
from reports.analysis import analyse, conclude

NOISE = (("clean", 0.0), ("symmetric", 0.25), ("symmetric", 0.5), ("symmetric", 0.75))
REPLICATES = 2000
SD = 2.0  # points by which the difference of two methods varies between datasets; seeds add .8


def claims(sim, monkeypatch, effects, replicates, seed, shared=0.0):
    """What is claimed of every method against coop_ce, a row per replicate: a new frame each, through `analyse`.

    `shared` is the standard deviation of what a seed does to a method on all datasets alike.
    """
    monkeypatch.setattr(statistics, "mean_interval", lambda *_: (0.0, 0.0))  # no part of the verdict, and much of the time
    monkeypatch.setattr(bayes, "SAMPLES", 50)
    base = sim.simulate(5, 11, 3, noise=NOISE, effects={}, spread=0.0, seed_sd=0.0, rng=seed)
    rng = np.random.default_rng(seed)
    once = analyse(base)  # what it checks and labels depends on no accuracy, so only the rest is done again
    runs = once.runs
    method, dataset = pd.factorize(runs["method"])[0], pd.factorize(runs["dataset"])[0]
    level = runs["accuracy"] + runs["method"].map(effects).fillna(0.0)
    rows = []
    for _ in range(replicates):
        own = rng.normal(0, SD / np.sqrt(2), (method.max() + 1, dataset.max() + 1))
        luck = rng.normal(0, shared, (method.max() + 1, 4))
        noise = own[method, dataset] + luck[method, runs["seed"].astype(int)] + rng.normal(0, 0.8, len(runs))
        runs = runs.assign(accuracy=level + noise * runs["trained"])
        rows.append(conclude(once.choices, runs, runs, []).versus["claim"])
    whole = base.assign(accuracy=base["run_id"].map(runs.set_index("run_id")["accuracy"].groupby(level=0).first()))
    assert rows[-1].to_dict() == analyse(whole).versus["claim"].to_dict()
    return pd.DataFrame(rows).drop(columns="zero_shot")


@pytest.mark.long
@pytest.mark.parametrize("shared", [0.0, 0.7, 2.0])
def test_at_most_7_percent_of_reports_claim_something_where_there_is_nothing(sim, monkeypatch, shared):
    found = claims(sim, monkeypatch, {}, REPLICATES, 1, shared)
    assert found.isin(["better", "worse"]).any(axis=1).mean() <= 0.07


@pytest.mark.long
def test_a_gain_of_4_points_is_found_in_at_least_80_percent(sim, monkeypatch):
    assert (claims(sim, monkeypatch, {"gce": 4.0}, REPLICATES, 2)["gce"] == "better").mean() >= 0.80


def test_the_same_on_few_reports(sim, monkeypatch):
    assert claims(sim, monkeypatch, {}, 10, 3, 2.0).isin(["better", "worse"]).any(axis=1).mean() <= 0.2
    assert (claims(sim, monkeypatch, {"gce": 6.0}, 5, 4)["gce"] == "better").mean() >= 0.8


def test_seeds_that_are_lucky_everywhere_are_counted():
    """300 nulls in which a seed moves a method everywhere: Wilcoxon alone claims in over 20 %, the report in at most 7."""
    rng = np.random.default_rng(5)
    alone, together = [], []
    for _ in range(300):
        cubes = {name: rng.normal(0, 1.4, (11, 1)) + rng.normal(0, 1.5, (1, 3)) + rng.normal(0, 0.5, (11, 3)) for name in "abcde"}
        shared = statistics.shared_seeds(cubes)
        alone.append(statistics.wilcoxon((cubes["a"] - cubes["b"]).mean(axis=1)) <= 0.05)
        together.append(statistics.difference_p(cubes["a"], cubes["b"], shared) <= 0.05)
    assert np.mean(alone) > 0.2
    assert np.mean(together) <= 0.07


def test_more_seeds_or_rates_never_add_datasets(sim):
    """The trap that statistics over single runs fall into: more repeated measures do not make p smaller than n datasets allow."""
    for seeds, noise in ((1, NOISE), (5, NOISE), (2, (*NOISE, ("symmetric", 0.1), ("symmetric", 0.6)))):
        analysis = analyse(sim.simulate(2, 6, seeds, noise=noise, effects={"gce": 30.0}))
        assert analysis.versus.loc["gce", "p"] == statistics.smallest_p(6) == 0.03125
        assert len(analysis.datasets) == 6
