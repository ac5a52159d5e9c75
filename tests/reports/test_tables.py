"""The numbers, marks and escapes of the tables."""

import csv
import dataclasses
import io

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError
from reports import board, evidence, latex, paper, render, tables, typesetting, wording
from reports.analysis import analyse
from reports.choices import Choices
from reports.tables import Entry, Table

EVIL = "<script>|[x](y)_*`"


def small(label="gce", mark="best"):
    rows = [(label, [Entry("1.0 ± 0.1", mark), Entry("–")])]
    return Table("t", "T", f"{tables.TIED}: rule", ["a_b", "c"], rows, pd.DataFrame({"a_b": [1.0]}))


def test_markdown_keeps_nasty_names_in_their_cell():
    line = render.markdown(small(EVIL)).splitlines()[4]
    assert line.count("|") - line.count("\\|") == 4
    assert "<script>" not in line
    assert "**1.0 ± 0.1**" in line


def test_terminal_does_not_read_markup():
    from rich.console import Console

    console = Console(file=io.StringIO(), width=120)
    console.print(render.terminal(small("[red]x[/red]")))
    assert "[red]x[/red]" in console.file.getvalue()


def test_each_way_of_writing_names_its_own_look_of_a_tie():
    assert "Italic: rule" in render.markdown(small(mark="tied"))
    assert "Underlined: rule" in latex.column(small(mark="tied"))
    assert r"{\underline{1.0$\pm$0.1}}" in latex.column(small(mark="tied"))


def test_wide_latex_tables_are_split_and_lose_nothing():
    columns = [f"dataset{i}" for i in range(30)]
    table = Table("t", "T", "C", columns, [("gce", [Entry(f"{i}.5 ± 0.1") for i in range(30)])], pd.DataFrame())
    text = latex.column(table)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert text.count("Method &") > 1
    assert all(rf"{i}.5 +- 0.1" in text and f"dataset{i}" in text for i in range(30))


def test_latex_shows_and_measures_what_it_cannot_print_as_something_else():
    assert typesetting.text("a\nb") == "a?b"
    assert typesetting.width("a\nb") == typesetting.width("a+b")
    assert "a b &" in latex.column(small("a\nb"))


def test_a_leaderboard_without_a_control_names_none(sim):
    frame = sim.simulate(3, 6, 1)
    analysis = analyse(frame[frame["method"] != "coop_ce"])
    shown = board.leaderboard_table(analysis, ("score", "difference", "p (Holm)"))
    assert shown.caption == "Means over 6 datasets, percent. Score: mean over symmetric noise of 25, 50, 75 %."
    assert "against coop_ce." in board.leaderboard_table(analyse(frame)).caption


@pytest.mark.parametrize(("methods", "words"), [(30, 200), (48, 20), (48, 90), (130, 90)])
def test_a_latex_table_that_is_too_tall_for_a_page_goes_on_in_another(methods, words):
    names = [f"method {i}" for i in range(methods)]
    rows = [(name, [Entry(f"{i}.{k}") for k in range(9)]) for i, name in enumerate(names)]
    table = Table("t", "T", "word " * words, [f"dataset{k}" for k in range(9)], rows, pd.DataFrame())
    text = latex.column(table, room=150.0)
    assert all(text.count(f"method {i} &") == text.count("method 0 &") > 1 for i in range(methods))
    assert all(text.count(f" {i}.{k} ") == 1 for i in range(methods) for k in range(9))
    for n, one in enumerate(text.split(r"\begin{table}")[1:]):
        caption = 14 + 12 * (1 + 5 * words * 5 // 150 if n == 0 else 2)
        assert caption + 9.5 * one.count(r"\\") < 550


def test_values_never_show_minus_zero_or_nan():
    assert wording.value(-0.04) == "0.0"
    assert wording.value(-0.04, signed=True) == "+0.0"
    assert wording.value(np.nan) == "–"
    assert wording.value(72.34, 0.44) == "72.3 ± 0.4"
    assert wording.value(-0.0, 0.0) == "0.0 ± 0.0"
    assert wording.value(72.34, np.nan) == "72.3"  # one seed has no spread


def test_a_spread_is_shown_where_seeds_were_run_even_if_it_is_0(sim):
    alike = sim.simulate(3, 6, 2)
    alike["accuracy"] = alike.groupby(["method", "dataset", "noise", "rate"])["accuracy"].transform("first")
    for frame, spread in ((alike, (" ", "± 0.0")), (sim.simulate(3, 6, 1), ("", ""))):
        analysis = analyse(frame)
        for table in (tables.noise_table(analysis), tables.dataset_table(analysis, "symmetric", 0.5)):
            texts = {label: {entry.text.partition(" ")[1:] for entry in row} for label, row in table.rows}
            assert texts == {label: {("", "") if label == "zero_shot" else spread} for label in analysis.labels}


def test_best_and_tied_over_datasets_follow_the_stated_rule(sim):
    analysis = analyse(sim.simulate(3, 11, 2, effects={"gce": 6.0, "sce": 6.1}, spread=0.6))
    marks = {label: row[-1].mark for label, row in tables.noise_table(analysis).rows}
    assert sorted((marks["gce"], marks["sce"])) == ["best", "tied"]
    assert marks["coop_ce"] == ""


def test_best_and_tied_on_one_dataset_count_test_images_and_seeds():
    mean = pd.DataFrame({"d": [70.0, 60.0]}, index=["a", "b"])
    std, seeds = pd.DataFrame({"d": [2.0, np.nan]}, index=["a", "b"]), pd.DataFrame({"d": [4, 1]}, index=["a", "b"])
    error = tables.standard_errors(mean, std, seeds, pd.Series({"d": 300}))
    assert error.loc["a", "d"] == pytest.approx(np.sqrt(0.7 * 0.3 / 300 * 1e4 + 2.0**2 / 4))
    assert error.loc["b", "d"] == pytest.approx(100 * np.sqrt(0.6 * 0.4 / 300))


def test_missing_cells_are_dashes_in_the_dataset_tables(sim):
    frame = sim.simulate(3, 4, 2)
    hole = (frame["method"] == "gce") & (frame["dataset"] == "food") & (frame["rate"] == 0.5)
    analysis = analyse(frame[~hole], Choices(allow_missing="drop-dataset"))
    table = tables.dataset_table(analysis, "symmetric", 0.5)
    row = dict(table.rows)["gce"]
    assert row[table.columns.index("food")].text == "–"
    assert all(cell.text != "–" for i, cell in enumerate(row) if table.columns[i] != "food")
    assert "food" not in analysis.datasets


def test_oracles_compete_for_nothing_unless_asked(sim):
    frame = sim.simulate(25, 6, 1)
    frame.loc[frame["method"] == "clean_only", "accuracy"] = 99.0
    analysis = analyse(frame)
    assert analysis.labels[-1] == "clean_only †"
    assert "clean_only †" not in analysis.ranked
    for table in evidence.all_tables(analysis):
        for cell in dict(table.rows).get("clean_only †", []):
            assert cell.mark == ""
    assert "†" in tables.noise_table(analysis).caption
    assert analyse(frame, Choices(with_oracles=True)).ranked[0] == "clean_only †"


def test_unidentifiable_settings_are_marked_and_no_part_of_the_score(sim):
    analysis = analyse(sim.simulate(3, 6, 1, noise=(("clean", 0.0), ("pairflip", 0.25), ("pairflip", 0.5))))
    table = tables.noise_table(analysis)
    assert table.columns == ["clean", "pairflip 0.25", "pairflip 0.5 ‡", "score"]
    assert "‡" in table.caption
    assert table.numbers.loc["gce", "score"] == pytest.approx(table.numbers.loc["gce", "pairflip 0.25"])
    assert any("pairflip 0.5" in note for note in analysis.notes)


def test_a_dataset_called_average_is_not_the_average(sim):
    frame = sim.simulate(2, 6, 1)
    frame["dataset"] = frame["dataset"].replace({"food": "average"})
    (table, *_) = paper.tables(analyse(frame), paper.Layout())
    half = frame[(frame["method"] == "gce") & (frame["noise"] == "symmetric") & (frame["rate"] == 0.25)].set_index("dataset")[
        "accuracy"
    ]
    assert table.groups[-1] == "average of datasets"
    assert table.numbers.loc["gce", "average 0.25"] == half["average"]
    assert table.numbers.loc["gce", "average of datasets 0.25"] == pytest.approx(half.mean())


def test_csv_reads_back(sim):
    analysis = analyse(sim.simulate(3, 6, 2))
    rows = list(csv.DictReader(io.StringIO(render.csv(tables.noise_table(analysis)))))
    assert float(rows[0]["score"]) == analysis.scores[analysis.ranked[0]].mean()


def test_tests_per_rate_adjust_over_all_of_them(sim):
    analysis = analyse(sim.simulate(3, 8, 2))
    numbers = evidence.per_rate_table(analysis).numbers
    assert len(numbers) == 3 * 5
    assert (numbers["p_holm"] >= numbers["p"]).all()
    assert numbers["p_holm"].min() >= 15 * 2.0**-7 - 1e-12 or numbers["p_holm"].min() == 1.0


def test_pairs_hold_every_pair_once(sim):
    table = evidence.pairs_table(analyse(sim.simulate(4, 6, 1)))
    assert len(table.rows) == 5 * 4 // 2
    assert table.numbers[["worse", "equivalent", "better"]].sum(axis=1).to_numpy() == pytest.approx(1)


def test_published_numbers_stand_apart(sim):
    frame = sim.simulate(3, 4, 1)
    published = frame.head(1).assign(source="published", run_id="p", cell_id="p", label="nlprompt", accuracy=88.8, train="{}")
    both = pd.concat([frame, published], ignore_index=True)
    assert "nlprompt" not in analyse(both).labels
    table = evidence.published_table(sim.as_results(both))
    assert table.rows == [("nlprompt (published), arrows", [Entry("88.8")])]
    assert evidence.published_table(sim.as_results(frame)) is None


def test_failed_runs_are_noted_with_their_error(sim):
    frame = sim.simulate(3, 4, 1)
    failed = frame.head(1).assign(
        status="failed", run_id="f", cell_id="f", method="joapr", label="joapr", error="ValueError: NaN loss", accuracy=None
    )
    failed["identifiable"] = None
    both = pd.concat([frame, failed], ignore_index=True)
    with pytest.raises(BenchError, match="joapr · arrows · clean · seed 1"):  # nothing else of it is there, and it is missed
        analyse(both)
    notes = analyse(both, Choices(allow_missing="drop-method")).notes
    assert notes == [
        "method 'joapr' is left out of averages and tests (1 cell missing)",
        "1 run failed, for instance joapr on arrows: ValueError: NaN loss",
    ]


def test_the_three_errors_are_named(sim):
    text = evidence.errors(analyse(sim.simulate(3, 12, 3, seed_sd=2.0)))
    assert "of a test set (median 400 images)" in text
    seeds = float(text.split("of seeds, ")[1].split()[0])
    assert 1.5 < seeds < 2.5


def test_cells_of_a_rate_that_some_datasets_cannot_identify(sim):
    frame = sim.simulate(2, 4, 1)
    few = (frame["dataset"] == "food") & (frame["rate"] == 0.75)
    frame.loc[few, "identifiable"] = False
    scores = analyse(frame).scores
    rows = frame[
        (frame["method"] == "gce")
        & (frame["dataset"] == "food")
        & frame["rate"].isin([0.25, 0.5])
        & (frame["noise"] == "symmetric")
    ]
    assert scores.loc["food", "gce"] == pytest.approx(rows["accuracy"].mean())


@pytest.mark.parametrize("over", ["zero_shot", "coop_ce"])
def test_gains_are_differences_of_means(sim, over):
    frame = sim.simulate(3, 5, 2)
    analysis = analyse(frame)
    numbers = tables.gain_table(analysis, tables.noise_table(analysis).numbers.iloc[:, :-6], over).numbers
    half = frame[(frame["noise"] == "symmetric") & (frame["rate"] == 0.5)]
    base = frame.loc[frame["method"] == over, "accuracy"] if over == "zero_shot" else half.loc[half["method"] == over, "accuracy"]
    assert numbers.loc["gce", "symmetric 0.5"] == pytest.approx(half.loc[half["method"] == "gce", "accuracy"].mean() - base.mean())
    assert over not in numbers.index


def test_the_leaderboard_holds_both_differences(sim):
    frame = sim.simulate(3, 7, 2)
    analysis = analyse(frame)
    shown = board.leaderboard_numbers(analysis)
    noisy = frame[frame["noise"] == "symmetric"]
    gce, ce = (noisy.loc[noisy["method"] == name, "accuracy"].mean() for name in ("gce", "coop_ce"))
    assert shown.loc["gce", "difference"] == pytest.approx(gce - ce)
    assert shown.loc["gce", "gain_over_zero_shot"] == pytest.approx(
        gce - frame.loc[frame["method"] == "zero_shot", "accuracy"].mean()
    )
    assert shown.loc["gce", ["low", "difference", "high"]].is_monotonic_increasing


def test_names_are_neither_escapes_nor_formulas():
    from rich.console import Console

    table, console = small("\x1b[2Jx"), Console(file=io.StringIO(), width=120)
    console.print(render.terminal(table))
    assert "\x1b[2J" not in console.file.getvalue()
    numbers = pd.DataFrame({"=1+1": [1.5]}, index=["@SUM(A1)"])
    assert render.csv(dataclasses.replace(table, numbers=numbers)).splitlines() == [",'=1+1", "'@SUM(A1),1.5"]
