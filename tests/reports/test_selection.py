"""Learning rates are chosen on validation, never on test."""

import pandas as pd
import pytest

from bench.errors import INCOMPLETE, BenchError
from reports import cells, completeness
from reports.selection import select


@pytest.fixture
def grid(sim):
    """Three learning rates per cell, where validation and test disagree on the best."""
    frame = sim.simulate(2, 3, 2, lrs=(0.0002, 0.002, 0.02))
    frame["val_noisy"] = frame["lr"].map({0.0002: 10.0, 0.002: 20.0, 0.02: 30.0})
    frame["val_clean"] = frame["lr"].map({0.0002: 30.0, 0.002: 20.0, 0.02: 10.0})
    frame["accuracy"] = frame["accuracy"].where(frame["lr"] != 0.002, 99.0)  # the best on test
    return frame


def test_noisy_validation_chooses_one_run_per_cell(sim, grid):
    chosen = select(grid, "noisy_val")
    trained = chosen[chosen["method"] != "zero_shot"]
    assert set(trained["lr"]) == {0.02}
    assert not trained.duplicated(cells.CELL).any()
    assert len(chosen[chosen["method"] == "zero_shot"]) == 3
    assert set(sim.comparable(chosen)["label"]) == {"coop_ce", "gce", "zero_shot"}


def test_a_method_that_learns_from_shots_without_steps_has_no_rate_to_choose(sim, grid):
    """Training-free Tip-Adapter beside a grid over learning rates: one run per cell, as it was."""
    free = grid[(grid["method"] == "gce") & (grid["lr"] == 0.02)]
    free = free.assign(method="tip_adapter", label="tip_adapter", lr=float("nan"), train="{}", run_id=free["run_id"] + "t")
    chosen = select(pd.concat([grid, free], ignore_index=True))
    assert sorted(chosen.loc[chosen["method"] == "tip_adapter", "run_id"]) == sorted(free["run_id"])
    assert "tip_adapter" in set(sim.comparable(chosen)["label"])


def test_ties_go_to_the_lower_learning_rate(sim, grid):
    grid["val_noisy"] = grid["val_noisy"].where(grid["lr"] == 0.0002, 30.0)  # .002 and .02 tie
    assert set(select(grid)["lr"].dropna()) == {0.002}


def test_clean_validation_is_an_oracle(sim, grid):
    labels = set(sim.comparable(select(grid, "clean_val"))["label"])
    assert labels == {"coop_ce †", "gce †", "zero_shot"}
    assert set(select(grid, "clean_val")["lr"].dropna()) == {0.0002}


def test_test_accuracy_never_matters(sim, grid):
    before = select(grid)["run_id"].tolist()
    grid["accuracy"] = grid["accuracy"].to_numpy()[::-1]
    assert select(grid)["run_id"].tolist() == before


def test_choices_may_differ_between_cells_and_still_make_one_row(sim, grid):
    here = (grid["dataset"] == "arrows") & (grid["lr"] == 0.0002)
    grid.loc[here, "val_noisy"] = 50.0
    runs = sim.comparable(select(grid))
    assert set(runs.loc[runs["dataset"] == "arrows", "lr"].dropna()) == {0.0002}
    assert set(runs["label"]) == {"coop_ce", "gce", "zero_shot"}


def test_a_cell_without_all_learning_rates_is_refused_or_left_out(sim, grid):
    hole = (
        (grid["method"] == "gce")
        & (grid["dataset"] == "arrows")
        & (grid["rate"] == 0.5)
        & (grid["seed"] == 1)
        & (grid["lr"] == 0.02)
    )
    with pytest.raises(
        BenchError, match=r"1 cell not run at all learning rates .* gce on arrows at symmetric 0.5, seed 1"
    ) as caught:
        select(grid[~hole])
    assert caught.value.code == INCOMPLETE
    holes = completeness.missing(cells.spread(sim.comparable(select(grid[~hole], partial=True))))
    assert holes.to_numpy().tolist() == [["gce", "arrows", "symmetric", 0.5, 1]]
    failed = grid.copy()
    failed.loc[hole, ["status", "accuracy", "val_noisy"]] = ["failed", None, None]
    chosen = select(failed)  # what failed was tried
    cell = chosen[(chosen["method"] == "gce") & (chosen["dataset"] == "arrows") & (chosen["rate"] == 0.5) & (chosen["seed"] == 1)]
    assert cell["lr"].tolist() == [0.002]


def test_the_grid_of_missing_cells_asks_for_every_learning_rate(sim, grid):
    runs = cells.spread(sim.comparable(select(grid[~((grid["dataset"] == "arrows") & (grid["seed"] == 2))])))
    assert completeness.missing_grid(runs, completeness.missing(runs))["train"]["lr"] == [0.0002, 0.002, 0.02]


def test_missing_validation_is_an_error(sim, grid):
    grid.loc[0, "val_noisy"] = None
    with pytest.raises(BenchError, match="--select noisy_val: 1 run without val_noisy"):
        select(grid)
