"""Figures: the numbers that are drawn, looks that stay with a method, and labels that do not overlap with 25 methods."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from reports import cells, figures, rankings, report, style, training
from reports.analysis import analyse


@pytest.fixture(scope="module")
def many(sim):
    return sim.as_results(sim.simulate(25, 14, 2)), analyse(sim.simulate(25, 14, 2))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(figure):
    """The texts that a drawn figure shows, and their boxes in pixels: without the arrows of annotations and ticks out of view."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    ticks = {label for axis in axes for tick in (*axis.majorTicks, *axis.minorTicks) for label in (tick.label1, tick.label2)}
    shown = {label for axis in axes if axis.axes.axison for tick in axis._update_ticks() for label in (tick.label1, tick.label2)}
    hidden = (ticks - shown) | {axis.label for axis in axes if not axis.axes.axison}
    drawn = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in hidden]
    return [(text.get_text(), Text.get_window_extent(text, renderer)) for text in drawn]


def overlapping(figure):
    return [
        (a, b)
        for (a, one), (b, two) in itertools.combinations(texts(figure), 2)
        if one.x0 + 1 < two.x1 and two.x0 + 1 < one.x1 and one.y0 + 1 < two.y1 and two.y0 + 1 < one.y1
    ]


def outside(figure):
    width, height = figure.canvas.get_width_height()
    return [text for text, box in texts(figure) if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]


@pytest.mark.long
def test_no_labels_overlap_or_leave_the_figure_with_25_methods(many):
    results, analysis = many
    curves = pd.DataFrame(
        [(label, p, 1 - p, 10, "one") for label in analysis.labels for p in (0.1, 0.5, 0.9)],
        columns=["method", "p_y", "gradient_norm", "classes", "rest"],
    )
    names = []
    for drawing in report.drawings(results, analysis, report.looks_of(analysis, curves), curves):
        assert overlapping(drawing.figure) == [], drawing.name
        assert outside(drawing.figure) == [], drawing.name
        names.append(drawing.name)
        plt.close(drawing.figure)
    over_epochs = ["memorisation", "gradient_share", "detection", "loss_gradients"]
    assert names == ["noise_symmetric", "noise_pairflip", "critical_difference", "gain_map", "profiles", *over_epochs]


@pytest.mark.parametrize("count", [3, 10])
def test_direct_labels_of_close_lines_do_not_overlap(sim, count):
    analysis = analyse(sim.simulate(count, 6, 2, effects={}, spread=0.05, seed_sd=0.05))
    axes = figures.noise_curves(analysis.runs, "symmetric", analysis.labels, style.styles(analysis.labels))
    assert len(axes) == 1
    assert overlapping(axes[0].figure) == []
    assert outside(axes[0].figure) == []


def test_noise_curves_draw_the_means_and_the_zero_shot_line(sim):
    frame = sim.simulate(3, 5, 2)
    analysis = analyse(frame)
    (ax,) = figures.noise_curves(analysis.runs, "symmetric", analysis.labels, style.styles(analysis.labels))
    line = ax.get_lines()[[label for label in analysis.labels if label != "zero_shot"].index("gce")]
    rows = frame[(frame["method"] == "gce") & (frame["noise"] != "pairflip")]
    expected = [np.mean(rows.loc[rows["rate"] == rate, "accuracy"]) for rate in (0, 0.25, 0.5, 0.75)]
    assert line.get_ydata() == pytest.approx(expected)
    zero_shot = ax.get_lines()[-1]
    assert zero_shot.get_ydata()[0] == pytest.approx(frame.loc[frame["method"] == "zero_shot", "accuracy"].mean())
    _, std = figures.curve(analysis.runs, "symmetric")
    per_seed = rows[rows["rate"] == 0.5].groupby("seed")["accuracy"].mean()
    assert std.loc[0.5, "gce"] == pytest.approx(per_seed.std())


def test_looks_are_distinct_for_27_methods_and_do_not_depend_on_the_order():
    labels = [f"m{i:02}" for i in range(25)] + ["coop_ce", "zero_shot"]
    looks = style.styles(labels)
    assert len({(look.color, str(look.linestyle)) for look in looks.values()}) == 27
    assert style.styles(labels[::-1]) == looks
    assert looks["coop_ce"].color == "#000000"


def test_apart_moves_no_more_than_needed():
    assert style.apart(np.array([0.0, 10.0, 20.0]), 5.0) == pytest.approx([0, 10, 20])
    assert style.apart(np.array([1.0, 0.0]), 2.0) == pytest.approx([1.5, -0.5])
    assert style.apart(np.array([3.0, 3.0, 3.0]), 1.0) == pytest.approx([2, 3, 4])


def test_cliques_are_the_maximal_runs_below_the_critical_difference():
    ranks = pd.Series({"a": 1.0, "b": 1.5, "c": 2.4, "d": 4.0, "e": 6.0})
    assert rankings.cliques(ranks, 1.0) == [(1.0, 1.5), (1.5, 2.4)]
    assert rankings.cliques(ranks, 2.0) == [(1.0, 2.4), (2.4, 4.0)]
    assert rankings.cliques(ranks, 0.1) == []


def test_histories_are_averaged_per_method_and_epoch(sim):
    results = sim.as_results(sim.simulate(2, 3, 2))
    rows = results.frame[(results.frame["noise"] == "symmetric") & (results.frame["rate"] == 0.5)]
    means = training.over_epochs(results.history(list(rows["run_id"])), rows)
    assert means.index.get_level_values("epoch").max() == 30
    history = results.history(list(rows.loc[rows["method"] == "gce", "run_id"]))
    assert means.loc[("gce", 30), "accuracy"] == pytest.approx(history.loc[history["epoch"] == 29, "accuracy"].mean())


def test_gradient_share_is_the_mislabelled_part(sim):
    means = pd.DataFrame(
        {"grad_clean": [3.0, 1.0], "grad_noisy": [1.0, 1.0]},
        index=pd.MultiIndex.from_tuples([("gce", 1), ("gce", 2)], names=["label", "epoch"]),
    )
    (ax,) = training.gradient_share(means, ["gce"], style.styles(["gce"]), 0.5)
    assert ax.get_lines()[0].get_ydata() == pytest.approx([25.0, 50.0])


def test_detection_draws_only_methods_with_a_belief(sim):
    runs = cells.comparable(sim.simulate(20, 3, 1))
    axes = training.detection(cells.of_protocol(runs, "symmetric"), sorted(set(runs["label"])), style.styles(runs["label"]))
    assert {line.get_label() for line in axes[0].get_lines()} == {"co_teaching", "joapr", "nlprompt"}
