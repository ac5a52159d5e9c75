"""`from reports import …` in a notebook, as a user calls it."""

import pytest

import reports
from bench.errors import BenchError
from reports.paper import Layout
from reports.report import Extras


def test_leaderboard_of_a_frame(sim):
    board = reports.leaderboard(sim.simulate(4, 8, 2))
    assert board["score"].is_monotonic_decreasing
    assert set(board.index) == {"coop_ce", "gce", "sce", "mae", "zero_shot"}
    assert {"clean", "gain_over_zero_shot", "difference", "low", "high", "p_holm", "p_equivalent"} <= set(board)


def test_load_leaderboard_compare(sim, tmp_path):
    import pyarrow.parquet as pq

    pq.write_table(sim.as_results(sim.simulate(3, 6, 2)).table, tmp_path / "r.parquet")
    results = reports.load(tmp_path / "r.parquet")
    assert len(reports.leaderboard(results)) == 4
    assert reports.compare(results, results).worse == []


def test_two_sentences(sim):
    first, second = reports.headline(sim.simulate(4, 11, 3, effects={"mae": 8.0}, spread=0.5))
    assert first.startswith("Over 11 datasets under symmetric noise of 25 to 75 %, mae has the highest mean accuracy, ")
    assert "points above coop_ce" in first
    assert "significant (Holm-adjusted p = " in first
    assert second.startswith("coop_ce goes from ")
    assert "of 4 trained methods are above zero-shot" in second


def test_sentences_do_not_claim_what_four_datasets_cannot_show(sim):
    first, _ = reports.headline(sim.simulate(4, 4, 3, effects={"mae": 20.0}, spread=0.5))
    assert "too few datasets for any significance (the smallest attainable p is 0.5 after Holm)" in first


def test_sentences_say_when_the_control_wins(sim):
    first, _ = reports.headline(
        sim.simulate(3, 11, 2, effects={"gce": -9.0, "sce": -9.0}, spread=0.3, noise=(("clean", 0.0), ("symmetric", 0.1)))
    )
    assert "coop_ce has the highest mean accuracy" in first
    assert "points above " in first


@pytest.mark.parametrize(
    ("points", "words"),
    [(0, ": equal to gce "), (0.02, ": less than 0.1 points above coop_ce "), (0.3, ": 0.3 points above coop_ce ")],
)
def test_a_tie_is_said_to_be_one(sim, points, words):
    frame = sim.simulate(2, 7, 2)
    frame = frame[frame["method"].isin(["coop_ce", "gce"])]
    frame["accuracy"] = 60.0 + points * (frame["method"] == "gce")
    assert words in reports.headline(frame)[0]


def test_clean_only_results_have_a_headline(sim):
    first, second = reports.headline(sim.simulate(3, 6, 2, noise=(("clean", 0.0),)))
    assert "on clean labels" in first
    assert "reaches" in second


@pytest.mark.parametrize("count", [1, 2])
def test_few_methods_still_make_a_leaderboard(sim, count):
    frame = sim.simulate(count, 3, 1)
    assert len(reports.leaderboard(frame)) == count + 1
    verb = "method is" if count == 1 else "methods are"
    assert f"where 0 of {count} trained {verb} above zero-shot" in reports.headline(frame)[1]


def test_results_show_themselves_as_a_table(sim):
    frame = sim.simulate(2, 3, 1)
    frame["label"] = frame["label"].replace({"gce": "<b>gce</b>"})
    shown = sim.as_results(frame)._repr_html_()
    assert shown.startswith("<table")
    assert f"<p>{len(frame)} rows × 9 columns</p>" in shown
    assert "&lt;b&gt;gce&lt;/b&gt;" in shown
    assert f"{frame['accuracy'].iloc[0]:g}" in shown
    analysis = reports.analyse(frame)
    assert f"<td>{analysis.scores.iloc[0, 0]:.1f}</td>" in analysis._repr_html_()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda frame: reports.leaderboard(3), "results cannot be of type int"),
        (reports.load, "results are loaded from a path, not from DataFrame"),
        (lambda frame: reports.leaderboard(frame, "coop_ce"), "choices cannot be of type str"),
        (lambda frame: reports.leaderboard(frame, contrl="gce"), r"no option 'contrl'\. Did you mean 'control'"),
        (lambda frame: reports.leaderboard(frame, control=None), "--control needs a text, not None"),
        (lambda frame: reports.leaderboard(frame, margin="half"), "--margin half is not a number"),
        (lambda frame: reports.leaderboard(frame, margin=True), "--margin True is not a number"),
        (lambda frame: reports.leaderboard(frame, with_oracles="no"), "--with-oracles is True or False, not 'no'"),
        (lambda frame: reports.leaderboard(frame, where={3: ["in"]}), "--where needs a mapping, not {3: "),
        (lambda frame: reports.leaderboard(frame.assign(train="{")), "'train' holds what is not JSON: '{'"),
        (lambda frame: reports.leaderboard(frame, methods="gce"), "--methods needs a list of names, not 'gce'"),
        (lambda frame: reports.leaderboard(frame, methods=[3]), r"--methods needs a list of names, not \[3\]"),
        (lambda frame: reports.leaderboard(frame, names={"gce": 3}), "--name needs a mapping of names"),
        (lambda frame: reports.leaderboard(frame, names={"gce": " "}), "--name gce= gives no name"),
        (lambda frame: reports.leaderboard(frame, where={"domain": "in"}), "--where domain needs a list of values, not 'in'"),
        (lambda frame: reports.leaderboard(frame, where={"domain": []}), r"--where domain needs a list of values, not \[\]"),
        (lambda frame: reports.leaderboard(frame, where={"accuracy": [""]}), "It is a number between"),
        (lambda frame: reports.leaderboard(frame[["label", "accuracy"]]), "the frame lacks the columns"),
        (lambda frame: reports.leaderboard(frame.assign(accuracy="high")), "'accuracy' holds what is not a number"),
        (lambda frame: reports.analyse(frame, {"control": "gce"}), "choices cannot be of type dict"),
        (lambda frame: reports.leaderboard(frame, names={"gce": "a\nb"}), r"--name gce='a\\nb' holds what cannot be printed"),
        (lambda frame: Layout(digits=1.5), "--digits 1.5 is not a whole number from 0 to 4"),
        (lambda frame: Layout(digits="2"), "--digits 2 is not a whole number"),
        (lambda frame: Layout(rates=0.5), r"--rates needs a list of numbers, not 0\.5"),
        (lambda frame: Layout(rates=["half"]), "--rates half is not a share from 0 to 1"),
        (lambda frame: Layout(datasets="food"), "--datasets needs a list of names, not 'food'"),
        (lambda frame: Layout(text_width="wide"), "--text-width wide is not between 200 and 1000 points"),
        (lambda frame: Extras(width="wide"), "--width wide is not one of"),
        (lambda frame: Extras(formats="png"), "--formats needs a list of names, not 'png'"),
        (lambda frame: Extras(columns="score"), "--columns needs a list of names, not 'score'"),
        (lambda frame: reports.compare(frame, None), "results cannot be of type NoneType"),
        (lambda frame: reports.answers(frame, "gce", "sce"), "--methods needs a list of names, not 'sce'"),
        (lambda frame: reports.answers(frame, "gce", ["sec"]), r"rival 'sec' is not among .* Did you mean 'sce'"),
        (lambda frame: reports.answers(frame, "gce", []), "there is no rival to hold against gce"),
        (lambda frame: reports.answers(frame.assign(domain=None), "gce", ["sce"]), "no dataset here is said to be in or out"),
        (lambda frame: reports.answers(frame[frame["rate"] > 0], "gce", ["coop_ce"]), "'zero_shot' is not among"),
    ],
)
def test_wrong_arguments_are_one_sentence(sim, call, message):
    with pytest.raises(BenchError, match=message) as caught:
        call(sim.simulate(3, 6, 1))
    assert len(str(caught.value)) < 500


def test_loaded_results_are_loaded_already(sim):
    results = sim.as_results(sim.simulate(1, 1, 1))
    assert reports.load(results) is results
