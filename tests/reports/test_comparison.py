"""Two result sets: what changed, and when the command fails a build."""

import json

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError
from reports import comparison
from reports.cells import PAIRED


@pytest.fixture
def before(sim):
    return sim.simulate(3, 10, 2)


def changed(frame, method, by, noise=0.3):
    """The frame with one method's accuracies moved, dataset by dataset a little differently."""
    rng = np.random.default_rng(1)
    shift = {name: by + rng.normal(0, noise) for name in sorted(frame["dataset"].unique())}
    rows = frame["method"] == method
    after = frame.copy()
    after.loc[rows, "accuracy"] += frame.loc[rows, "dataset"].map(shift)
    return after


def test_nothing_changed(before):
    found = comparison.compare(before, before)
    assert set(found.methods["verdict"]) == {"equivalent"}
    assert (found.methods["difference"] == 0).all()
    assert found.changes == []
    assert found.worse == []


@pytest.mark.parametrize(("by", "verdict"), [(-2.0, "worse"), (2.0, "better"), (0.0, "equivalent")])
def test_one_method_changed(before, by, verdict):
    found = comparison.compare(before, changed(before, "gce", by))
    assert found.methods.loc["gce", "verdict"] == verdict
    assert found.methods.loc["sce", "verdict"] == "equivalent"
    assert found.worse == (["gce"] if verdict == "worse" else [])
    expected = (
        changed(before, "gce", by).query("method == 'gce'")["accuracy"].mean() - before.query("method == 'gce'")["accuracy"].mean()
    )
    assert found.methods.loc["gce", "difference"] == pytest.approx(expected)


def test_only_common_cells_are_compared(before):
    half = before[before["seed"] <= 1]
    found = comparison.compare(half, changed(before, "gce", 1.0))
    assert f"{len(half)} cells in both; 0 only in A, {len(before) - len(half)} only in B" in found.notes


def test_changes_of_the_specification_are_named(before, sim):
    after = before.copy()
    gce = after["method"] == "gce"
    after.loc[gce, "train"] = json.dumps(sim.TRAIN | {"lr": 0.01})
    after.loc[gce, "method_version"] = 2
    lines = comparison.compare(before, after).changes
    assert f"train: lr 0.002 → 0.01 ({gce.sum()} cells)" in lines
    assert f"method_version: 1 → 2 ({gce.sum()} cells)" in lines
    assert len(lines) == 2


@pytest.mark.parametrize(("column", "what"), PAIRED.items())
def test_what_cells_were_not_paired_in_is_named(before, column, what):
    """The same cells of another draw of labels, another test set or other features: the numbers differ for that reason alone."""
    rows = before["trained"].astype(bool) if column == "noise_digest" else before["num_test"] > 0
    value = {"noise_digest": before["noise_digest"] + " again", "num_test": 7, "zero_shot": before["zero_shot"] - 1}[column]
    after = before.assign(**{column: before[column].where(~rows, value)})
    assert comparison.compare(before, after).changes == [f"{column}: {what} ({rows.sum()} cells)"]
    unknown = after.assign(noise_digest="", num_test=0, zero_shot=np.nan)
    assert comparison.compare(before, unknown).changes == []


def test_nothing_in_common_is_an_error(before):
    with pytest.raises(BenchError, match="no cell in common"):
        comparison.compare(before, before.assign(dataset=before["dataset"] + "2", task="x"))


def test_few_datasets_are_never_significant_and_that_is_said(sim):
    few = sim.simulate(2, 4, 3)
    found = comparison.compare(few, changed(few, "gce", -9.0))
    assert found.worse == []
    assert any("no comparison can become significant" in note for note in found.notes)


def test_false_alarms_of_unchanged_pairs(sim):
    """Reruns with other noise of the same methods: a build fails in about 5 % of them, here in at most 4 of 25."""
    rng = np.random.default_rng(3)
    frame = sim.simulate(3, 8, 1, noise=(("clean", 0.0), ("symmetric", 0.5)))
    frame = frame[frame["method"] != "zero_shot"]
    alarms = 0
    for _ in range(25):
        a, b = (frame.assign(accuracy=frame["accuracy"] + rng.normal(0, 1, len(frame))) for _ in range(2))
        alarms += bool(comparison.compare(a, b).worse)
    assert alarms <= 4


def test_table_puts_the_largest_loss_first(before):
    table = comparison.comparison_table(comparison.compare(before, changed(changed(before, "gce", -1.0), "sce", -3.0)))
    assert [label for label, _ in table.rows][:2] == ["sce", "gce"]
    assert isinstance(table.numbers, pd.DataFrame)
