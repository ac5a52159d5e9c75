"""`bench report` as a user runs it, on a results file."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def stored(tmp_path, sim):
    """Write a frame as a results file."""

    def stored(frame, name="results.parquet"):
        pq.write_table(sim.as_results(frame).table, tmp_path / name)
        return tmp_path / name

    return stored


@pytest.fixture
def without_figures(monkeypatch):
    """Figures are most of a report's time, and one test draws them."""
    monkeypatch.setattr("reports.report.drawings", lambda *_: iter(()))


def test_report_writes_tables_and_figures_and_says_the_headline(run, stored, sim, tmp_path):
    code, out, _ = run("report", stored(sim.simulate(4, 6, 2)), "--out", tmp_path / "out")
    assert code == 0
    assert "Leaderboard" in out
    assert "has the highest mean accuracy" in out
    for name in ("leaderboard", "methods_by_noise", "datasets_clean"):
        for ending in ("md", "tex", "csv"):
            assert (tmp_path / "out" / "tables" / f"{name}.{ending}").stat().st_size > 0
    for name in ("noise_symmetric.png", "noise_symmetric.csv", "gain_map.png", "gain_map.csv"):
        assert (tmp_path / "out" / "figures" / name).stat().st_size > 200
    table = pd.read_csv(tmp_path / "out" / "tables" / "methods_by_noise.csv", index_col=0)
    frame = sim.simulate(4, 6, 2)
    gce = frame[(frame["method"] == "gce") & (frame["noise"] == "symmetric") & (frame["rate"] == 0.5)]
    assert table.loc["gce", "symmetric 0.5"] == pytest.approx(gce["accuracy"].mean())
    assert table.loc["gce", "symmetric 0.5 std"] == pytest.approx(gce.groupby("seed")["accuracy"].mean().std())


def test_json_goes_to_stdout_alone(run, stored, sim, tmp_path, without_figures):
    code, out, _ = run("report", stored(sim.simulate(4, 6, 2)), "--out", tmp_path / "out", "--json")
    assert code == 0
    rows = json.loads(out)
    scores = [row["score"] for row in rows]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)


def test_incomplete_results_exit_4_and_say_what_runs_them(run, stored, sim, tmp_path, without_figures):
    frame = sim.simulate(4, 6, 2)
    hole = (frame["method"] == "gce") & (frame["dataset"] == "food") & (frame["rate"] == 0.5)
    path = stored(frame[~hole])
    code, _, err = run("report", path, "--out", tmp_path / "out")
    assert code == 4
    assert "2 cells of 300 missing" in err
    assert "gce · food · symmetric 0.5 · seed 1" in err
    assert f"bench run {tmp_path / 'out' / 'missing.toml'} --out {path}" in err
    assert not (tmp_path / "out" / "tables").exists()
    code, out, err = run("report", path, "--out", tmp_path / "out", "--allow-missing", "drop-dataset")
    assert code == 0
    assert "Over 5 datasets" in out
    assert "dataset 'food' is left out" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--control", "coop"], "control 'coop' is not among the methods. Did you mean 'coop_ce'?"),
        (["--noise", "symetric"], "Did you mean 'symmetric'?"),
        (["--allow-missing", "drop"], "--allow-missing cannot be 'drop'"),
        (["--select", "test"], "--select cannot be 'test'"),
        (["--margin", "-1"], "--margin -1.0 is not"),
        (["--where", "shots"], "--where 'shots' is not of the form"),
        (["--name", "gce="], "--name gce= gives no name"),
        (["--name", "GCE"], "--name 'GCE' is not of the form label=name"),
        (["--name", "gce=A", "--name", "gce=B"], "--name gce is given twice"),
        (["--where", "accuracy=high"], "It is a number between"),
        (["--columns", "score,rnk"], "no column 'rnk'. Did you mean 'rank'?"),
    ],
)
def test_bad_options_are_one_sentence_and_write_nothing(run, stored, sim, tmp_path, options, message):
    code, _, err = run("report", stored(sim.simulate(2, 3, 1)), "--out", tmp_path / "out", *options)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


def test_names_and_columns_are_the_users(run, stored, sim, tmp_path, without_figures):
    run("report", stored(sim.simulate(3, 6, 2)), "--out", tmp_path / "out", "--name", "coop_ce=CoOp", "--columns", "score,clean")
    table = (tmp_path / "out" / "tables" / "leaderboard.md").read_text()
    assert "| method | score | clean |" in table
    assert "| CoOp |" in table


def test_a_name_may_hold_an_equals_sign(run, stored, sim, tmp_path, without_figures):
    path = stored(sim.simulate(2, 3, 2, lrs=(0.002, 0.02)))
    run("report", path, "--out", tmp_path / "out", "--name", "gce lr=0.002=slow", "--columns", "score")
    assert "| slow |" in (tmp_path / "out" / "tables" / "leaderboard.md").read_text()


def test_compare_exits_5_when_something_got_significantly_worse(run, stored, sim):
    before = sim.simulate(3, 10, 2)
    after = before.copy()
    after.loc[after["method"] == "gce", "accuracy"] -= 3.0
    a, b = stored(before, "a.parquet"), stored(after, "b.parquet")
    code, out, err = run("compare", a, b)
    assert code == 5
    assert "significantly worse: gce" in err
    assert "worse" in out
    code, out, _ = run("compare", a, a, "--json")
    assert code == 0
    assert json.loads(out)["worse"] == []
    code, _, _ = run("compare", b, a)  # better is no failure
    assert code == 0


def test_a_learning_rate_grid_is_reported_both_ways(run, stored, sim, tmp_path, without_figures):
    path = stored(sim.simulate(2, 6, 2, lrs=(0.002, 0.02)))
    code, out, _ = run("report", path, "--out", tmp_path / "all", "--control", "coop_ce lr=0.002")
    assert code == 0
    assert "gce lr=0.02" in out
    code, out, _ = run("report", path, "--out", tmp_path / "chosen", "--select", "noisy_val")
    assert code == 0
    assert "lr=" not in out
    assert "learning rate chosen" in (tmp_path / "chosen" / "report.html").read_text()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (2, 2, 1)])
def test_the_smallest_results_still_make_a_report(run, stored, sim, tmp_path, shape):
    code, out, _ = run(
        "report", stored(sim.simulate(*shape, noise=(("clean", 0.0), ("symmetric", 0.5)))), "--out", tmp_path / "out"
    )
    assert code == 0
    assert "nan" not in out
    assert "nan" not in (tmp_path / "out" / "report.md").read_text()


def test_an_unwritable_folder_is_an_error_of_the_environment(run, stored, sim, tmp_path, without_figures):
    (tmp_path / "file").write_text("")
    code, _, err = run("report", stored(sim.simulate(2, 3, 1)), "--out", tmp_path / "file" / "out")
    assert code == 3
    assert "cannot be written" in err


def test_the_page_escapes_what_results_say_and_needs_no_network(run, stored, sim, tmp_path, without_figures):
    frame = sim.simulate(3, 4, 1)
    frame["label"] = frame["label"].replace({"gce": "<script>alert(1)</script>"})
    run("report", stored(frame), "--out", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\\u003cscript\\u003ealert(1)" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "bench report" in page
