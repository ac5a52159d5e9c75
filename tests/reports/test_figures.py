"""Figures: the numbers that are drawn, looks that stay with a method, and labels that do not overlap with 25 methods."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from reports import figures, rankings, report, style, training
from reports.analysis import analyse
from reports.choices import Choices

NOISE = (("clean", 0.0), ("symmetric", 0.5))


@pytest.fixture(scope="module")
def many(sim):
    return sim.as_results(sim.simulate(25, 14, 2)), analyse(sim.simulate(25, 14, 2))


def texts(figure):
    """The texts that a drawn figure shows, and their boxes in pixels: without the arrows of annotations and ticks out of view."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
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


def drawn(many, width):
    results, analysis = many
    curves = pd.DataFrame(
        [(label, p, 1 - p, 10, "one") for label in analysis.labels for p in (0.1, 0.5, 0.9)],
        columns=["method", "p_y", "gradient_norm", "classes", "rest"],
    )
    with style.in_style():
        yield from report.drawings(results, analysis, report.looks_of(analysis), width, curves)


@pytest.mark.parametrize("width", style.WIDTHS)
def test_the_ranks_keep_their_axis_beside_long_names(sim, width):
    frame = sim.simulate(6, 6, 1)
    frame["label"] += " from the words of a very long template $x"
    analysis = analyse(frame, Choices(control="gce"))
    with style.in_style():
        figure = rankings.critical_difference(analysis, report.looks_of(analysis), width).figure
        axis = figure.axes[0].get_lines()[0].get_xdata()
        assert axis[1] - axis[0] > 0.25 * width
        assert overlapping(figure) == outside(figure) == []


def test_a_map_of_many_methods_stands_in_blocks_whose_names_do_not_touch(many):
    with style.in_style():
        drawing = rankings.gain_map(many[1], 3.25)
    *blocks, bar = sorted(drawing.figure.axes, key=lambda ax: -ax.get_position().y0)
    assert len(blocks) == 2
    assert bar.get_xlabel() == "gain over coop_ce, points"
    assert sum(len(ax.get_xticks()) for ax in blocks) == len(many[1].labels) - 1
    assert overlapping(drawing.figure) == outside(drawing.figure) == []
    assert "The first" not in drawing.caption


@pytest.mark.parametrize("width", [3.25, 6.9])
def test_a_map_is_no_taller_than_a_page(sim, width):
    """Of 25 methods on 64 datasets those that fit are drawn, the first in order; the numbers are there of all."""
    parts = [sim.simulate(25, 16, 1, noise=NOISE, rng=i) for i in range(4)]
    parts = [one.assign(dataset=one["dataset"] + f" {i}", run_id=one["run_id"] + f"{i}", cell_id=one["cell_id"] + f"{i}")
             for i, one in enumerate(parts)]  # fmt: skip
    analysis = analyse(pd.concat(parts, ignore_index=True))
    with style.in_style():
        drawing = rankings.gain_map(analysis, width)
        assert drawing.figure.get_size_inches()[1] <= figures.PAGE + 1e-6
        assert overlapping(drawing.figure) == outside(drawing.figure) == []
    shown = sum(len(ax.get_xticks()) for ax in drawing.figure.axes[1:])
    assert shown == min(25, int((width - 0.18 - figures.inches(["buildings 0"])) / rankings.COLUMN))
    assert drawing.caption.endswith(f" The first {shown} of 25 methods.") == (shown < 25)
    assert len(drawing.data) == 25


@pytest.mark.parametrize("width", style.WIDTHS)
def test_panels_of_many_datasets_fit_a_page(sim, width):
    frame = sim.simulate(2, 16, 1, noise=NOISE)
    parts = [
        frame,
        frame.assign(dataset="many_more_" + frame["dataset"], run_id=frame["run_id"] + "2", cell_id=frame["cell_id"] + "2"),
    ]
    analysis = analyse(pd.concat(parts, ignore_index=True))
    with style.in_style():
        figure = figures.noise_by_dataset(analysis, "symmetric", report.looks_of(analysis), width).figure
        assert len(figure.axes) == 32
        assert figure.get_size_inches()[1] <= figures.PAGE + 1e-6
        assert overlapping(figure) == outside(figure) == []


def test_costs_that_are_alike_stand_inside_the_figure(sim):
    """All about four seconds: the axis begins at 0, and ends behind the last one's marker."""
    frame = sim.simulate(3, 6, 1)
    analysis = analyse(frame.assign(wall_seconds=4 - 0.01 * frame["label"].rank(method="dense").sub(1)))
    drawing = rankings.cost(analysis, report.looks_of(analysis), 5.5)
    left, right = drawing.figure.axes[0].get_xlim()
    dearest = drawing.data["wall_seconds"].max()
    assert left == 0
    assert drawing.data["wall_seconds"].nunique() == 3
    assert right > 1.03 * dearest > 4


def test_names_are_cut_in_the_middle():
    assert figures.shortened("GCE from 16 random tokens", 30) == "GCE from 16 random tokens"
    assert figures.shortened("GCE from 16 random tokens", 15) == "GCE fro…tokens"
    assert len(figures.shortened("icons_animals_nature", 12)) <= 12


@pytest.mark.long
@pytest.mark.parametrize("width", style.WIDTHS)
def test_no_labels_overlap_or_leave_the_figure_with_25_methods(many, width):
    names = []
    for drawing in drawn(many, width):
        assert drawing.figure.get_size_inches()[0] == width
        assert min(text.get_fontsize() for text in drawing.figure.findobj(Text) if text.get_text()) >= 7, drawing.name
        assert overlapping(drawing.figure) == [], drawing.name
        assert outside(drawing.figure) == [], drawing.name
        assert len(drawing.data), drawing.name
        names.append(drawing.name)
    whole = ["critical_difference", "gain_map", "profiles", "gain_by_zero_shot", "cost"]
    training_ = ["memorisation", "gradient_share", "detection", "loss_gradients"]
    assert names == ["noise_symmetric", "noise_pairflip", "datasets_symmetric", *whole, *training_]


def test_one_rate_still_shows_zero_shot_and_the_grey_methods(sim):
    """Lines between rates there are none: zero-shot crosses the panel, and who is not highlighted is a dot."""
    analysis = analyse(sim.simulate(14, 6, 2, noise=(("symmetric", 0.5),)))
    looks = report.looks_of(analysis)
    for drawing in (
        figures.noise_curves(analysis, "symmetric", looks, 5.5),
        figures.noise_by_dataset(analysis, "symmetric", looks, 5.5),
    ):
        ax = drawing.figure.axes[0]
        (zero_shot,) = [line for line in ax.get_lines() if line.get_color() == style.SOFT]
        reach = zero_shot.get_window_extent().width
        assert reach == pytest.approx(ax.bbox.width, rel=0.01)
        (grey,) = [line for line in ax.get_lines() if line.get_color() == style.GREY]
        assert grey.get_marker() == "."


def test_noise_curves_draw_the_means_and_the_zero_shot_line(sim):
    frame = sim.simulate(3, 5, 2)
    analysis = analyse(frame)
    drawing = figures.noise_curves(analysis, "symmetric", report.looks_of(analysis), 5.5)
    (ax,) = drawing.figure.axes
    rows = frame[(frame["method"] == "gce") & (frame["noise"] != "pairflip")]
    expected = [np.mean(rows.loc[rows["rate"] == rate, "accuracy"]) for rate in (0, 0.25, 0.5, 0.75)]
    color = style.look("gce").color
    assert next(line for line in ax.get_lines() if line.get_color() == color).get_ydata() == pytest.approx(expected)
    assert drawing.data["gce"].to_list() == pytest.approx(expected)
    zero_shot = ax.get_lines()[-1]
    assert zero_shot.get_ydata()[0] == pytest.approx(frame.loc[frame["method"] == "zero_shot", "accuracy"].mean())
    per_seed = rows[rows["rate"] == 0.5].groupby("seed")["accuracy"].mean()
    assert drawing.data.loc[0.5, "gce std"] == pytest.approx(per_seed.std())


def test_a_method_looks_the_same_in_every_report():
    from methods import registry

    assert style.look("gce") == style.styles({"GCE": "gce"})["GCE"] == style.styles({"a": "sce", "GCE": "gce"})["GCE"]
    named = [*style.KNOWN, *style.FIXED]
    assert {one.name for one in registry.listings().values() if one.module.startswith("methods.")} == set(named)
    looks = [style.look(name) for name in named]
    assert len({(look.color, str(look.linestyle)) for look in looks}) == len(named)  # also where lines have no markers
    assert len({(look.color, look.marker) for look in looks}) == len(named)  # and where markers have no lines
    assert style.look("gce", 1) != style.look("gce")
    assert style.look("gce", 1).color == style.look("gce").color


def test_at_most_eight_methods_are_highlighted_and_the_control_is_one(many):
    _, analysis = many
    front = figures.highlighted(analysis)
    assert len(front) == style.MOST
    assert "coop_ce" in front
    assert [label for label in front if label != "coop_ce"] == [label for label in analysis.trained if label != "coop_ce"][:7]


def test_what_is_not_highlighted_is_grey_and_named_as_others(many):
    results, analysis = many
    looks, rest = report.looks_of(analysis), len(analysis.trained) - style.MOST
    with style.in_style():
        for drawing in report.drawings(results, analysis, looks):
            if drawing.name in ("critical_difference", "gain_map", "memorisation"):  # a name or a panel each
                continue
            legend = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
            assert ("other methods" in legend) == (drawing.name != "detection"), drawing.name  # six methods hold a belief
            assert len([name for name in legend if name in analysis.labels]) <= style.MOST, drawing.name
    cloud = next(line for line in rankings.gain_by_zero_shot(analysis, looks, 5.5).figure.axes[0].get_lines())
    zero_shot = analysis.zero_shot.to_numpy()
    clean = analysis.clean[[label for label in analysis.trained if label not in figures.highlighted(analysis)]]
    assert cloud.get_color() == style.GREY
    assert len(cloud.get_xdata()) == rest * len(analysis.datasets)
    assert sorted(cloud.get_ydata()) == pytest.approx(sorted((clean.to_numpy() - zero_shot[:, None]).ravel()))


def test_dose_is_a_line_per_method_over_its_starts(sim):
    parts = []
    for i, start in enumerate((20.0, 50.0, 70.0)):
        one = sim.simulate(2, 6, 1, effects={"gce": start / 10})
        one = one.assign(train=[json.dumps(json.loads(text) | {"n_ctx": 4 + i}) if text != "{}" else text for text in one["train"]])
        one = one.assign(start=start, run_id=one["run_id"] + str(i), cell_id=one["cell_id"] + str(i))
        parts.append(one if i == 0 else one[one["method"] != "zero_shot"])
    analysis = analyse(pd.concat(parts, ignore_index=True), Choices(control="coop_ce from 4 random tokens"))
    drawing = rankings.dose(analysis, report.looks_of(analysis), 5.5)
    (ax,) = drawing.figure.axes
    assert len(ax.get_lines()) == 2
    gce = next(line for line in ax.get_lines() if line.get_color() == style.look("gce").color)
    assert list(gce.get_xdata()) == [20.0, 50.0, 70.0]
    assert (np.diff(gce.get_ydata()) > 0).all()
    assert "4 random tokens: 20.0 %; 5 random tokens: 50.0 %; 6 random tokens: 70.0 %" in drawing.caption
    assert rankings.dose(analyse(sim.simulate(2, 6, 1)), {}, 5.5) is None


def test_cliques_are_the_maximal_runs_below_the_critical_difference():
    ranks = pd.Series({"a": 1.0, "b": 1.5, "c": 2.4, "d": 4.0, "e": 6.0})
    assert rankings.cliques(ranks, 1.0) == [(1.0, 1.5), (1.5, 2.4)]
    assert rankings.cliques(ranks, 2.0) == [(1.0, 2.4), (2.4, 4.0)]
    assert rankings.cliques(ranks, 0.1) == []


def test_histories_are_averaged_per_method_seed_and_epoch(sim):
    results = sim.as_results(sim.simulate(2, 3, 2))
    rows = results.frame[(results.frame["noise"] == "symmetric") & (results.frame["rate"] == 0.5)]
    means = training.over_epochs(results.history(list(rows["run_id"])), rows)
    assert means.index.get_level_values("epoch").max() == 30
    history = results.history(list(rows.loc[(rows["method"] == "gce") & (rows["seed"] == 1), "run_id"]))
    assert means.loc[("gce", 1, 30), "accuracy"] == pytest.approx(history.loc[history["epoch"] == 29, "accuracy"].mean())


def test_gradient_share_is_the_mislabelled_part():
    means = pd.DataFrame(
        {"grad_clean": [3.0, 1.0], "grad_noisy": [1.0, 1.0]},
        index=pd.MultiIndex.from_tuples([("gce", 1, 1), ("gce", 1, 2)], names=["label", "seed", "epoch"]),
    )
    drawing = training.gradient_share(means, ["gce"], style.styles({"gce": "gce"}), 0.5, 5.5, "")
    assert drawing.figure.axes[0].get_lines()[0].get_ydata() == pytest.approx([25.0, 50.0])
    assert drawing.figure.axes[0].get_lines()[1].get_ydata()[0] == 50.0


def test_detection_draws_only_methods_with_a_belief(sim):
    analysis = analyse(sim.simulate(20, 3, 1))
    drawing = training.detection(analysis, report.looks_of(analysis), 5.5)
    assert set(drawing.data.index.get_level_values("label")) == {"co_teaching", "joapr", "nlprompt"}


def test_the_numbers_beside_a_figure_hold_its_bands_and_baselines(many):
    results, analysis = many
    data = {drawing.name: drawing.data for drawing in report.drawings(results, analysis, report.looks_of(analysis))}
    rows = analysis.runs[(analysis.runs["label"] == "joapr") & (analysis.runs["rate"] == 0.5)]
    of_food = rows.loc[rows["dataset"] == "food", "accuracy"]
    assert data["datasets_symmetric"].loc[("food", 0.5), "joapr std"] == pytest.approx(of_food.std())
    found = data["detection"].loc[(0.5, "joapr")]
    assert found["belief_precision std"] == pytest.approx(rows.groupby("seed")["belief_precision"].mean().std())
    assert found["belief_precision without knowledge"] == pytest.approx(50.0)
    assert found["belief_auroc without knowledge"] == 50.0
    assert (data["gradient_share"]["share_of_samples"] == 75.0).all()
