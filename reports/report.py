"""A report's folder: tables, figures, the text, and the page."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.errors import ENVIRONMENT, BenchError
from bench.results.frame import Results
from reports import cells, evidence, figures, gains, page, rankings, render, sentences, statistics, training
from reports.analysis import Analysis
from reports.style import Style, styles
from reports.tables import Table

DPI = 130


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure and what it shows."""

    name: str  # of its files
    caption: str
    figure: Figure


@dataclass(frozen=True, eq=False)
class Extras:
    """What a user may add to a report."""

    columns: tuple[str, ...] = ()  # of the leaderboard
    pairs: bool = False  # test all pairs
    curves: pd.DataFrame | None = None  # the CSV of `bench curves`
    command: str = ""  # that makes this report again
    source: Path | None = None  # the results' folder, for links to records


@dataclass(frozen=True, eq=False)
class Report:
    """What was written, and what it says."""

    folder: Path
    headline: list[str]
    tables: list[Table]
    analysis: Analysis


def _figure(axes: Axes | list[Axes]) -> Figure:
    first = axes if isinstance(axes, Axes) else axes[0]
    return cast("Figure", first.get_figure())


def looks_of(analysis: Analysis, curves: pd.DataFrame | None = None) -> dict[str, Style]:
    """The look of every method that the report shows anywhere."""
    losses = [] if curves is None else list(curves["method"].unique())
    return styles([*analysis.every["label"].unique(), *losses], analysis.control)


def drawings(
    results: Results, analysis: Analysis, looks: dict[str, Style], curves: pd.DataFrame | None = None
) -> Iterator[Drawing]:
    """The figures of a report, one after the other."""
    runs, labels, control = analysis.runs, analysis.labels, analysis.control
    for protocol in cells.protocols(runs):
        axes = figures.noise_curves(runs, protocol, labels, looks)
        mean = f"mean over {len(analysis.datasets)} datasets"
        caption = f"Accuracy against {protocol} noise, {mean}; bands: ± 1 standard deviation over seeds; dashed: zero-shot."
        yield Drawing(f"noise_{protocol}", caption, _figure(axes))
    scores = analysis.scores[analysis.ranked]
    if len(analysis.ranked) >= 3 and len(scores) >= 2:
        ranks = pd.Series(statistics.friedman(scores.to_numpy()).ranks, index=analysis.ranked)
        axes_ = rankings.critical_difference(ranks, statistics.nemenyi_distance(*scores.shape[::-1]), looks)
        caption = (
            f"Mean ranks over {len(scores)} datasets; bars join methods that Nemenyi's test does not tell apart at 5 %. "
            "The tests that count are those in the leaderboard."
        )
        yield Drawing("critical_difference", caption, _figure(axes_))
    if control and len(labels) > 1:
        others = scores.columns.drop(control)
        gain = scores[others].sub(scores[control], axis=0).T
        yield Drawing("gain_map", f"Gain of the score over {control}, points.", _figure(figures.gain_map(gain, control)))
    if runs["trained"].any():
        shares = gains.profiles(gains.gains_of(runs, analysis.protocol, labels))
        caption = (
            "Performance profiles: share of runs (datasets × noisy rates × seeds) whose gain over zero-shot exceeds a threshold."
        )
        yield Drawing("profiles", caption, _figure(rankings.profile(shares, looks)))
        yield from _over_epochs(results, analysis, looks)
    believed = cells.of_protocol(runs, analysis.protocol)
    if ((believed["rate"] > 0) & believed["belief_precision"].notna()).any():
        caption = "How well the methods that hold a belief find the clean samples: precision, recall, area under the ROC curve."
        yield Drawing("detection", caption, _figure(training.detection(believed, labels, looks)))
    if curves is not None:
        caption = (
            "Gradient of each loss at the logits against the probability of the given label (`bench curves`); "
            "the rest of the probability lies on one other class."
        )
        yield Drawing("loss_gradients", caption, _figure(training.loss_gradients(curves, labels, looks)))


def _over_epochs(results: Results, analysis: Analysis, looks: dict[str, Style]) -> Iterator[Drawing]:
    rows = cells.scored(analysis.runs[analysis.runs["trained"]], analysis.protocol)
    rate = float(rows["rate"].max())
    rows = rows[rows["rate"] == rate]
    means = training.over_epochs(results.history(list(rows["run_id"])), rows)
    where = f"at {cells.setting_name(analysis.protocol, rate)}, mean over datasets and seeds"
    if {"train_given", "train_true"} & set(means):
        caption = f"Memorisation {where}: accuracy on the given and the true labels of the training set, and on test."
        yield Drawing("memorisation", caption, _figure(training.memorisation(means, analysis.labels)))
    if rate > 0 and {"grad_clean", "grad_noisy"} <= set(means):
        share = float(rows["realised_rate"].mean())
        caption = f"Share of the gradient norm that mislabelled samples contribute {where}; dashed: their share of the samples."
        yield Drawing("gradient_share", caption, _figure(training.gradient_share(means, analysis.labels, looks, share)))


def write(results: Results, analysis: Analysis, folder: Path, extras: Extras | None = None) -> Report:
    """Write the report into a folder: report.html, report.md, tables/ (Markdown, LaTeX, CSV) and figures/ (PNG, PDF).

    Raises:
        BenchError: The folder cannot be written.
    """
    extras = extras or Extras()
    tables, headline = evidence.all_tables(analysis, extras.columns, extras.pairs), sentences.headline_of(analysis)
    published = evidence.published_table(results)
    tables += [published] if published else []
    words, looks = evidence.statistics_lines(analysis), looks_of(analysis, extras.curves)
    try:
        for part in ("tables", "figures"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for table in tables:
            for ending, text in (("md", render.markdown(table)), ("tex", render.latex(table)), ("csv", render.csv(table))):
                (folder / "tables" / f"{table.name}.{ending}").write_text(text, encoding="utf-8")
        pictures = []
        for drawing in drawings(results, analysis, looks, extras.curves):
            for ending in ("png", "pdf"):
                drawing.figure.savefig(folder / "figures" / f"{drawing.name}.{ending}", dpi=DPI)
            plt.close(drawing.figure)
            pictures.append((drawing.name, drawing.caption))
        (folder / "report.md").write_text(_markdown(analysis, tables, headline, words, pictures), encoding="utf-8")
        files = [(folder / "figures" / f"{name}.png", caption) for name, caption in pictures]
        records = page.records_address(extras.source, folder) if extras.source else ""
        html = page.page(results, analysis, looks, tables, headline, words, files, extras.command, records)
        (folder / "report.html").write_text(html, encoding="utf-8")
    except OSError as error:
        raise BenchError(
            f"the report cannot be written to {folder} ({error.strerror}).", "Give another folder with --out.", ENVIRONMENT
        ) from error
    return Report(folder, headline, tables, analysis)


def _markdown(
    analysis: Analysis, tables: list[Table], headline: list[str], words: list[str], pictures: list[tuple[str, str]]
) -> str:
    text = render.markdown_text
    parts = ["# Report", *map(text, headline)]
    if analysis.notes:
        parts.append("\n".join(f"- Note: {text(note)}." for note in analysis.notes))
    parts += [render.markdown(tables[0]), *map(text, words), render.markdown(tables[1])]
    parts += [f"![{text(caption)}](figures/{name}.png)\n\n{text(caption)}" for name, caption in pictures]
    parts += [render.markdown(table) for table in tables[2:]]
    return "\n\n".join(parts) + "\n"
