"""What may be compared, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from bench.errors import INCOMPLETE, BenchError
from reports import cells, completeness, labels
from reports.analysis import analyse


def test_zero_shot_holds_at_every_setting(sim):
    runs = cells.spread(sim.comparable(sim.simulate(3, 4, 2)))
    zero_shot = runs[runs["label"] == "zero_shot"]
    assert len(zero_shot) == 4 * 5 * 2
    assert (zero_shot["accuracy"] == zero_shot["zero_shot"]).all()
    assert completeness.missing(runs).empty


def test_clean_is_rate_zero_of_every_protocol(sim):
    runs = cells.spread(sim.comparable(sim.simulate(2, 3, 2)))
    assert sorted(cells.of_protocol(runs, "pairflip")["rate"].unique()) == [0.0, 0.25]
    assert sorted(cells.of_protocol(runs, "symmetric")["rate"].unique()) == [0.0, 0.25, 0.5, 0.75]


def test_primary_score_is_the_mean_of_the_noisy_rates_of_one_protocol(sim):
    frame = sim.simulate(3, 4, 2)
    scores = analyse(frame).scores
    rows = frame[(frame["method"] == "gce") & (frame["dataset"] == "food") & (frame["noise"] == "symmetric")]
    by_rate = [np.mean(rows.loc[rows["rate"] == rate, "accuracy"]) for rate in (0.25, 0.5, 0.75)]
    assert scores.loc["food", "gce"] == pytest.approx(np.mean(by_rate))


def test_unidentifiable_rates_are_no_part_of_the_score(sim):
    frame = sim.simulate(3, 4, 2, noise=(("clean", 0.0), ("pairflip", 0.25), ("pairflip", 0.5)))
    scores = analyse(frame).scores
    rows = frame[(frame["method"] == "gce") & (frame["dataset"] == "food") & (frame["rate"] == 0.25)]
    assert scores.loc["food", "gce"] == pytest.approx(rows["accuracy"].mean())


def test_missing_cells_are_listed_and_refused(sim):
    frame = sim.simulate(3, 4, 2)
    hole = (frame["method"] == "gce") & (frame["dataset"] == "food") & (frame["rate"] == 0.5) & (frame["seed"] == 2)
    failed = (frame["method"] == "sce") & (frame["dataset"] == "weather") & (frame["rate"] == 0.75) & (frame["seed"] == 1)
    frame.loc[failed, "status"] = "failed"
    runs = cells.spread(sim.comparable(frame[~hole]))
    holes = completeness.missing(runs)
    assert holes.values.tolist() == [["gce", "food", "symmetric", 0.5, 2], ["sce", "weather", "symmetric", 0.75, 1]]
    with pytest.raises(BenchError, match=r"2 cells of 160 missing:\n  gce · food · symmetric 0.5 · seed 2") as caught:
        completeness.complete(runs)
    assert caught.value.code == INCOMPLETE
    left, notes = completeness.complete(runs, "drop-dataset")
    assert set(left["dataset"]) == {"arrows", "animals"}
    assert len(notes) == 2
    left, _ = completeness.complete(runs, "drop-method")
    assert set(left["label"]) == {"coop_ce", "zero_shot"}


def test_a_missing_zero_shot_run_is_missing_too(sim):
    frame = sim.simulate(2, 3, 1)
    frame = frame[~((frame["method"] == "zero_shot") & (frame["dataset"] == "weather"))]
    holes = completeness.missing(cells.spread(sim.comparable(frame)))
    assert set(holes["label"]) == {"zero_shot"}
    assert set(holes["dataset"]) == {"weather"}


def test_the_grid_of_missing_cells_asks_for_them(sim):
    import tomllib

    from bench.files import toml_text

    frame = sim.simulate(3, 4, 2)
    frame.loc[frame["method"] == "gce", "params"] = json.dumps({"q": 0.7, "mode": 'a "b"', "none": None, "inner": {"x": True}})
    hole = (frame["method"] == "gce") & (frame["dataset"] == "food") & (frame["seed"] == 2) & (frame["rate"] < 0.5)
    runs = cells.spread(sim.comparable(frame[~hole]))
    grid = tomllib.loads(toml_text(completeness.missing_grid(runs, completeness.missing(runs))))
    assert grid["methods"] == [{"name": "gce", "q": 0.7, "mode": 'a "b"', "inner": {"x": True}}]
    assert grid["datasets"] == ["food"]
    assert grid["seeds"] == [2]
    assert grid["noise"] == {"symmetric": [0.0, 0.25], "pairflip": [0.25]}
    assert grid["train"] == labels.ABSENT | sim.TRAIN
    assert (grid["views"], grid["shots"], grid["backbones"]) == (8, [16], ["embedded"])


def mixed(sim, **changes):
    frame = sim.simulate(2, 3, 1)
    return pd.concat([frame, frame.head(1).assign(run_id="other", **changes)])


@pytest.mark.parametrize("column", ["method_version", "engine_version"])
def test_two_versions_of_one_cell_are_refused(sim, column):
    with pytest.raises(BenchError, match=f"in several versions: .* differs in {column}") as caught:
        sim.comparable(mixed(sim, **{column: 2}))
    assert "bench store gc" in str(caught.value)


def test_the_same_cell_twice_is_refused(sim):
    with pytest.raises(BenchError, match="is there twice"):
        sim.comparable(mixed(sim, cell_id="another"))


@pytest.mark.parametrize("change", [{"shots": 4}, {"backbone": "ViT-B-16"}, {"views": 4}])
def test_several_settings_are_refused_with_the_option_that_chooses(sim, change):
    column = next(iter(change))
    with pytest.raises(BenchError, match=f"several {column}: .*--where {column}="):
        sim.comparable(mixed(sim, cell_id="another", **change))


def test_another_split_under_the_same_name_is_refused(sim):
    with pytest.raises(BenchError, match="several splits or class names"):
        sim.comparable(mixed(sim, cell_id="another", task="v2"))


def test_learning_rates_become_rows_of_their_own(sim):
    runs = sim.comparable(sim.simulate(2, 3, 1, lrs=(0.002, 0.02)))
    assert set(runs["label"]) == {"coop_ce lr=0.002", "coop_ce lr=0.02", "gce lr=0.002", "gce lr=0.02", "zero_shot"}


def test_a_changed_default_makes_rows_of_its_own(sim):
    frame = sim.simulate(2, 2, 1)
    older = frame[frame["method"] == "gce"].assign(
        params='{"q": 0.5}', run_id=lambda f: f["run_id"] + "x", cell_id=lambda f: f["cell_id"] + "x"
    )
    newer = frame.assign(params=frame["params"].where(frame["method"] != "gce", '{"q": 0.7}'))
    both = sim.comparable(pd.concat([newer, older], ignore_index=True))
    assert {"gce q=0.5", "gce q=0.7", "coop_ce"} <= set(both["label"])


def test_other_training_keys_tell_rows_apart_too(sim):
    frame = sim.simulate(2, 3, 1)
    other = frame[frame["method"] == "gce"].assign(train=json.dumps(sim.TRAIN | {"precision": "bf16"}))
    other = other.assign(cell_id=other["cell_id"] + "b", run_id=other["run_id"] + "b")
    assert set(sim.comparable(pd.concat([frame, other]))["label"]) == {
        "coop_ce",
        "gce precision=fp32",
        "gce precision=bf16",
        "zero_shot",
    }


def test_oracles_are_marked(sim):
    runs = sim.comparable(sim.simulate(25, 2, 1))
    assert "clean_only †" in set(runs["label"])


def test_nothing_finished_is_an_error(sim):
    with pytest.raises(BenchError, match="no finished run"):
        sim.comparable(sim.simulate(2, 2, 1).assign(status="failed"))


def test_where_chooses_rows_and_knows_its_columns(sim):
    frame = sim.simulate(2, 3, 2)
    assert set(cells.where(frame, {"dataset": ["arrows"]})["dataset"]) == {"arrows"}
    trained = frame[frame["train"] != "{}"]
    assert set(cells.where(trained, {"seed": ["2"]})["seed"]) == {2}
    assert len(cells.where(trained, {"seed": ["1", "2"]})) == len(trained)
    with pytest.raises(BenchError, match=r"no column 'datset'\. Did you mean 'dataset'"):
        cells.where(frame, {"datset": ["food"]})
    with pytest.raises(BenchError, match="dataset=fod matches no run"):
        cells.where(frame, {"dataset": ["arrows", "fod"]})


def test_a_choice_of_training_keeps_the_untrained_method(sim):
    frame = sim.simulate(2, 3, 2)
    kept = cells.where(frame, {"shots": ["16"]})
    assert "zero_shot" in set(kept["method"])
    assert "zero_shot" not in set(cells.where(frame, {"method": ["coop_ce"]})["method"])
