"""What a report may not say: directions that mean and ranks disagree on, anything of few datasets, comparisons of unlike runs."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from reports import analyse, compare, evidence, headline, paper, sentences, statistics
from reports.board import leaderboard_numbers
from reports.choices import Choices


@pytest.fixture
def frame(sim):
    return sim.simulate(3, 8, 2, effects={"gce": 3.0}, spread=0.3)


def lopsided(sim):
    """gce loses a point on 21 of 23 datasets and gains 28 on two, as sets of sixteen names allow."""
    parts = [sim.simulate(3, 16, 3, effects={}, spread=0.05, seed_sd=0.05, rng=i) for i in (1, 2)]
    parts[1] = parts[1][parts[1]["dataset"].isin(sim.DATASETS[:7])]
    parts[1] = parts[1].assign(
        dataset=parts[1]["dataset"] + "2", run_id=parts[1]["run_id"] + "b", cell_id=parts[1]["cell_id"] + "b"
    )
    frame = pd.concat(parts, ignore_index=True)
    frame["accuracy"] -= 25.0  # so that all stay below 100
    gce, lucky = frame["method"] == "gce", frame["dataset"].isin(["arrows", "food"])
    return frame.assign(accuracy=frame["accuracy"] + gce * np.where(lucky, 28.0, -1.0))


def test_mean_and_ranks_must_agree(sim):
    analysis = analyse(lopsided(sim))
    row = analysis.versus.loc["gce"]
    assert row["difference"] > 1
    assert row["rank_biserial"] < 0
    assert row["claim"] == "disagree"
    trained = lopsided(sim).query("method != 'zero_shot'")
    said = headline(trained)[0]
    assert "gce has the highest mean accuracy" in said
    assert "but mean and typical dataset disagree" in said
    assert "significant (" not in said
    assert any("For gce the mean" in line for line in evidence.statistics_lines(analysis))
    scores = pd.DataFrame({"a": np.zeros(23), "b": [28.0, 28.0, *[-1.0] * 21]})
    assert statistics.wilcoxon(scores["b"].to_numpy()) < 0.05
    assert statistics.marked(scores) == ("", set())


def test_compare_is_undecided_where_mean_and_ranks_disagree(sim):
    before = sim.simulate(2, 16, 2)
    before["accuracy"] -= 30.0
    gce, lucky = before["method"] == "gce", before["dataset"].isin(["arrows"])
    after = before.assign(accuracy=before["accuracy"] + gce * np.where(lucky, 40.0, -1.0))
    assert compare(before, after).methods.loc["gce", "verdict"] == "disagree"
    assert compare(before, after).worse == []


def test_compare_wants_more_than_the_margin(frame):
    slightly = frame.assign(accuracy=frame["accuracy"] - 0.02 * (frame["method"] == "gce"))
    found = compare(frame, slightly)
    assert found.methods.loc["gce", "p"] < 0.01
    assert found.methods.loc["gce", "verdict"] == "equivalent"
    assert found.worse == []


@pytest.mark.parametrize("datasets", [1, 2, 5])
def test_few_datasets_give_numbers_and_nothing_else(sim, datasets):
    analysis = analyse(sim.simulate(3, datasets, 3, effects={"gce": 20.0}))
    assert analysis.versus[["low", "high", "p_worse", "p_equivalent", "p_better"]].isna().all(axis=None)
    assert set(analysis.versus["claim"]) == {"undecided"}
    said = " ".join([*sentences.headline_of(analysis), *evidence.statistics_lines(analysis), sentences.paste(analysis)])
    assert "P =" not in said
    assert "95 %" not in said


def test_different_training_is_refused_unless_named(sim, frame):
    longer = json.dumps(sim.TRAIN | {"epochs": 200})
    mixed = frame.assign(train=frame["train"].where(frame["method"] != "gce", longer))
    with pytest.raises(BenchError, match=r"trained differently .* epochs is 30 \(coop_ce, sce\); 200 \(gce\)"):
        analyse(mixed)
    said = headline(mixed, mixed=["epochs"])
    assert said[0].startswith("Not one training protocol: methods differ in epochs: 30 ")
    names = frame.assign(preset=frame["preset"].where(frame["method"] != "gce", "another"))
    assert len(analyse(names).ranked) == 4  # a name is no difference


def test_an_axis_of_all_methods_stays_rows(sim):
    analysis = analyse(sim.simulate(2, 6, 1, lrs=(0.002, 0.02)), Choices(control="coop_ce lr=0.002"))
    assert {"gce lr=0.002", "gce lr=0.02"} <= set(analysis.ranked)
    by_default = analyse(sim.simulate(2, 6, 1, lrs=(0.002, 0.02)))
    assert by_default.control == ""
    assert "control 'coop_ce' has several rows" in by_default.notes[-1]


def test_a_grid_and_its_reference_share_the_runs_that_both_hold(sim):
    grid = sim.simulate(2, 6, 1, lrs=(0.002, 0.02))
    found = compare(grid[grid["lr"] != 0.02], grid)
    assert set(found.methods.index) == {"coop_ce lr=0.002", "gce lr=0.002", "zero_shot"}


@pytest.mark.parametrize("reverse", [False, True])
def test_a_new_hyper_parameter_tells_rows_apart_in_any_order(frame, reverse):
    old = frame[frame["method"] == "gce"].assign(params='{"q":0.7}')
    new = old.assign(params='{"new":1.5,"q":0.7}', run_id=old["run_id"] + "n", cell_id=old["cell_id"] + "n")
    parts = [frame[frame["method"] != "gce"], old, new]
    found = analyse(pd.concat(parts[::-1] if reverse else parts, ignore_index=True))
    assert {"gce", "gce new=1.5"} <= set(found.labels)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("noise_digest", "other", "other shots or other labels of them"),
        ("num_test", 7, "other test images"),
        ("zero_shot", 1.0, "another zero-shot"),
    ],
)
def test_unpaired_runs_are_named(frame, column, value, message):
    rows = (frame["method"] == "gce") & (frame["dataset"] == "food") & (frame["rate"] == 0.5) & (frame["seed"] == 1)
    run = frame.loc[rows, "run_id"].iloc[0]
    frame.loc[rows, column] = value
    with pytest.raises(BenchError, match=f"run {run} .*'gce' on food at symmetric 0.5, seed 1.* has {message}"):
        analyse(frame)


def test_the_note_on_selection_needs_a_choice(frame, sim):
    assert not any("learning rate chosen" in note for note in analyse(frame, Choices(select="noisy_val")).notes)
    grid = sim.simulate(2, 6, 1, lrs=(0.002, 0.02))
    assert any("learning rate chosen" in note for note in analyse(grid, Choices(select="noisy_val")).notes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 101.0])
def test_an_accuracy_that_is_no_percentage_is_a_failed_run(frame, value):
    row = frame.index[(frame["method"] == "gce") & (frame["dataset"] == "food")][0]
    frame.loc[row, "accuracy"] = value
    with pytest.raises(BenchError, match=r"1 cell of .* missing:\n  gce · food"):
        analyse(frame)
    notes = analyse(frame, Choices(allow_missing="drop-dataset")).notes
    assert any(f"its accuracy is {value}" in note for note in notes)


def test_names_are_the_methods_titles_and_the_users(frame):
    frame["method_title"] = frame["method"].replace({"coop_ce": "CoOp", "gce": "GCE", "zero_shot": "zero-shot CLIP"})
    assert set(analyse(frame).labels) == {"CoOp", "GCE", "sce", "zero-shot CLIP"}
    renamed = analyse(frame, Choices(names={"zero_shot": "CLIP", "gce": "G"}, control="coop_ce"))
    assert set(renamed.labels) == {"CoOp", "G", "sce", "CLIP"}
    assert (renamed.untuned, renamed.control) == ("CLIP", "CoOp")
    with pytest.raises(BenchError, match=r"--name gec=X: no method 'gec'\. Did you mean 'gce'"):
        analyse(frame, Choices(names={"gec": "X"}))
    with pytest.raises(BenchError, match="would both be shown as 'X'"):
        analyse(frame, Choices(names={"gce": "X", "sce": "X"}))


def test_a_start_far_below_zero_shot_is_said_by_its_rule(frame):
    trained = frame["trained"].astype(bool)
    for below, said in ((5.0, False), (5.1, True)):
        started = frame.assign(start=(frame["zero_shot"] - below).where(trained))
        assert any("points below zero-shot" in line for line in headline(started)) == said


@settings(max_examples=6, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 6]), st.integers(1, 3)),
    rates=st.sampled_from([(0.0,), (0.5,), (0.0, 0.5)]),
    oracles=st.booleans(),
    zero_shot=st.sampled_from(["with", "without", "alone", "unknown", "infinite", "partly"]),
)
def test_every_text_of_small_results_is_plain(sim, shape, rates, oracles, zero_shot):
    frame = sim.simulate(*shape, noise=[("symmetric" if rate else "clean", rate) for rate in rates], effects={})
    keep = {"alone": ~frame["trained"].astype(bool), "without": frame["trained"].astype(bool)}
    frame = frame[keep.get(zero_shot, frame["method"] != "")]
    partly = frame["zero_shot"].where(frame["dataset"] != "arrows", -1.0)
    frame = frame.assign(zero_shot={"unknown": np.nan, "infinite": np.inf, "partly": partly}.get(zero_shot, frame["zero_shot"]))
    frame = frame.assign(oracle="rate" if oracles else None)
    try:
        analysis = analyse(frame)
    except BenchError as error:
        if not oracles or "--with-oracles" not in str(error):
            raise
        return
    tables = [*evidence.all_tables(analysis, pairs=True), *paper.tables(analysis, paper.Layout())]
    said = [*sentences.headline_of(analysis), *evidence.statistics_lines(analysis), sentences.paste(analysis), *analysis.notes]
    said += [cell for table in tables for row in [[table.caption], *table.text] for cell in row]
    for text in said:
        for bad in (
            "inf ",
            "inf.",
            "nan",
            " 1 datasets",
            " 1 seeds",
            " 1 runs",
            " 1 methods",
            " 1 comparisons",
            " 1 trained method are",
        ):
            assert bad not in f" {text} ", text
        assert not re.search(r"-0(\.0+)?(?![.\d])", text), text  # minus nothing


def test_a_mean_over_some_of_the_datasets_is_no_number(frame):
    """Methods have means over all datasets: a mean of zero-shot, or of starts, over the others compares with none of them."""
    food = frame["dataset"] == "food"
    analysis = analyse(frame.assign(zero_shot=frame["zero_shot"].mask(food), start=frame["start"].mask(food)))
    board = leaderboard_numbers(analysis)
    assert board[["gain_over_zero_shot", "start"]].isna().all(axis=None)
    assert board["zero_shot_agreement"].drop("zero_shot").notna().all()
    assert not any("above zero-shot" in line for line in sentences.headline_of(analysis))
    assert any("zero-shot accuracy is unknown on food" in note for note in analysis.notes)


def test_the_score_says_where_the_true_class_cannot_be_told(sim):
    hopeless = ("pairflip", 0.5)
    (note,) = analyse(sim.simulate(2, 6, 1, noise=(hopeless,))).notes
    assert (
        note
        == "at pairflip 0.5 the true class is not the most likely label on some datasets: the score counts it, as all is so there"
    )
    (note,) = analyse(sim.simulate(2, 6, 1, noise=(("clean", 0.0), ("pairflip", 0.25), hopeless))).notes
    assert note == "at pairflip 0.5 the true class is not the most likely label on some datasets: no part of the score there"


def test_an_oracle_that_trains_is_not_said_to_train_nothing(sim):
    frame = sim.simulate(25, 6, 1)
    said = headline(frame[frame["method"].isin(["clean_only", "zero_shot"])])
    assert said[1] == "No method that competes trains anything."


def test_a_score_is_averaged_over_what_there_are_several_of(sim):
    for shape, over in (((2, 6, 2), ", averaged over seeds and noise rates."), ((2, 6, 1), ", averaged over noise rates.")):
        assert f"after the last epoch{over}" in sentences.paste(analyse(sim.simulate(*shape)))
    one = sim.simulate(2, 6, 1, noise=(("clean", 0.0),))
    assert "is its test accuracy after the last epoch. " in sentences.paste(analyse(one))
    assert "is its test accuracy. " in sentences.paste(analyse(one[one["method"] == "zero_shot"]))
