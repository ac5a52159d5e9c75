"""Tables: numbers, their text with the best and the tied marked, and four ways to write them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from bench.errors import BenchError, nearest
from bench.results.frame import Results
from reports import cells, statistics
from reports.analysis import Analysis, Choices, analyse

Mark = Literal["", "best", "tied"]
MISSING = "–"
UNIDENTIFIABLE = " ‡"
TIED = "{tied}"  # stands for the look that a way of writing gives to what is tied with the best
RULE_OVER_DATASETS = (
    f"Bold: best mean. {TIED}: not significantly worse than it over datasets "
    "(two-sided exact Wilcoxon against the best, Holm, 5 %)."
)
RULE_ONE_DATASET = (
    f"Bold: best mean. {TIED}: within 1.96 standard errors of it, where an error counts both test images, √(p(1 - p)/n), "
    "and seeds, s/√k."
)
ORACLE_NOTE = "† is told what nobody knows in practice, and competes for no mark."
UNIDENTIFIABLE_NOTE = "‡ the true class is not the most likely label there, on at least one dataset: no part of the score."


@dataclass(frozen=True)
class Cell:
    """A cell's text and what it stands out for."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True, eq=False)
class Table:
    """A table to be shown; `numbers` is what a spreadsheet wants."""

    name: str  # of its files
    title: str
    caption: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]
    numbers: pd.DataFrame

    @property
    def text(self) -> list[list[str]]:
        """Rows of plain text, the label first."""
        return [[label, *(cell.text for cell in row)] for label, row in self.rows]


def value(mean: float, std: float = float("nan"), signed: bool = False) -> str:
    """A number's text: "72.3 ± 0.4", "+1.2", a dash where there is nothing; never "-0.0"."""
    if not np.isfinite(mean):
        return MISSING
    shown = f"{round(mean, 1) + 0.0:{'+' if signed else ''}.1f}"
    return shown if not np.isfinite(std) else f"{shown} ± {std:.1f}"


def _rows(
    mean: pd.DataFrame, std: pd.DataFrame | None, marks: dict[str, tuple[str, set[str]]], signed: bool = False
) -> list[tuple[str, list[Cell]]]:
    """The text of a table [labels × columns]. `marks` gives each column's best label and those tied with it."""

    def cell(label: str, column: str) -> Cell:
        best, tied = marks.get(column, ("", set()))
        spread = cells.number(std, label, column) if std is not None else float("nan")
        mark: Mark = "best" if label == best else "tied" if label in tied else ""
        return Cell(value(cells.number(mean, label, column), spread, signed), mark)

    return [(str(label), [cell(str(label), str(column)) for column in mean]) for label in mean.index]


def _remarks(labels: list[str], columns: list[str]) -> str:
    oracle = any(label.endswith(cells.ORACLE) for label in labels)
    hidden = any(column.endswith(UNIDENTIFIABLE) for column in columns)
    return (f" {ORACLE_NOTE}" if oracle else "") + (f" {UNIDENTIFIABLE_NOTE}" if hidden else "")


def _numbers(mean: pd.DataFrame, std: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([mean, std.add_suffix(" std")], axis=1).rename_axis("method")


def blocks(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """The runs of every column of the method × noise table: each noise setting, then the score."""
    found = {
        cells.setting_name(noise, rate): cells.at(analysis.runs, noise, rate)
        for noise, rate in cells.settings(analysis.runs).itertuples(index=False)
    }
    return found | {"score": cells.scored(analysis.runs, analysis.protocol)}


def seed_spread(runs: pd.DataFrame) -> pd.Series:
    """Standard deviation over seeds of the mean over datasets and rates, per label; NaN for untrained methods and single seeds."""
    per_dataset = runs[runs["trained"]].groupby(["label", "seed", "dataset"])["accuracy"].mean()
    means = per_dataset.groupby(level=["label", "seed"]).mean()
    return means.groupby(level="label").std()


def noise_table(analysis: Analysis) -> Table:
    """Method × noise setting: mean over datasets ± standard deviation over seeds."""
    by_column = {name: cells.wide(rows) for name, rows in blocks(analysis).items()}
    mean = pd.DataFrame({name: wide.mean() for name, wide in by_column.items()}).loc[analysis.labels]
    std = pd.DataFrame({name: seed_spread(rows) for name, rows in blocks(analysis).items()}).reindex(analysis.labels)
    marks = {}
    for name, wide in by_column.items():
        competing = wide[analysis.ranked]
        marks[name] = (str(competing.mean().idxmax()), statistics.tied_with_best(competing))
    columns = [name + ("" if rows["identifiable"].all() else UNIDENTIFIABLE) for name, rows in blocks(analysis).items()]
    caption = (
        f"Accuracy in percent, mean over {len(analysis.datasets)} datasets ± standard deviation over seeds. "
        f"Score: mean over the noisy rates of {analysis.protocol}. {RULE_OVER_DATASETS}{_remarks(analysis.labels, columns)}"
    )
    return Table("methods_by_noise", "Methods by noise", caption, columns, _rows(mean, std, marks), _numbers(mean, std))


def dataset_table(analysis: Analysis, noise: str, rate: float) -> Table:
    """Method × dataset at one noise setting: mean ± standard deviation over seeds; missing cells are dashes."""
    here = cells.at(analysis.every, noise, rate)
    found = set(here["label"])
    labels = [label for label in analysis.labels if label in found] + sorted(found - set(analysis.labels))
    mean = cells.wide(here, "label", "dataset").loc[labels]
    counts = here.pivot_table(index="label", columns="dataset", values="accuracy", aggfunc="count")
    std = here.pivot_table(index="label", columns="dataset", values="accuracy", aggfunc="std").reindex_like(mean)
    std.loc[[label for label in labels if label in set(here.loc[~here["trained"], "label"])]] = np.nan
    error = standard_errors(mean, std, counts, here.groupby("dataset")["num_test"].first())
    competing = [label for label in labels if label in analysis.ranked]
    marks = {}
    for dataset in map(str, mean):
        column = mean.loc[competing, dataset].dropna()
        if len(column):
            best = str(column.idxmax())
            allowed = 1.96 * np.hypot(error.loc[column.index, dataset].to_numpy(), cells.number(error, best, dataset))
            marks[dataset] = (best, set(column.index[column.to_numpy() >= column[best] - allowed]))
    hidden = set(here.loc[~here["identifiable"], "dataset"])
    columns = [str(dataset) + (UNIDENTIFIABLE if dataset in hidden else "") for dataset in mean]
    name = cells.setting_name(noise, rate)
    caption = f"Accuracy in percent, mean ± standard deviation over seeds, {name}. {RULE_ONE_DATASET}{_remarks(labels, columns)}"
    file = f"datasets_{name.replace(' ', '_').replace('.', '')}"
    return Table(file, f"Datasets, {name}", caption, columns, _rows(mean, std, marks), _numbers(mean, std))


def standard_errors(mean: pd.DataFrame, std: pd.DataFrame, seeds: pd.DataFrame, images: pd.Series) -> pd.DataFrame:
    """Standard error of an accuracy, points: of the test images, √(p (1 - p) / n), and of the seeds, s / √k, added in squares.

    The test images are the same for all seeds, so their part does not shrink with more seeds.

    Args:
        mean: Percent, [labels × datasets].
        std: Standard deviation over seeds, points.
        seeds: Numbers of seeds.
        images: Test images per dataset.
    """
    share = mean / 100
    sampling = (share * (1 - share)).div(images.reindex(mean.columns), axis=1) * 1e4
    return pd.DataFrame(np.sqrt(sampling + std.fillna(0.0) ** 2 / seeds))


def gain_table(analysis: Analysis, over: str) -> Table:
    """Method × noise setting: mean gain over another method, in points."""
    mean = pd.DataFrame({name: cells.wide(rows).mean() for name, rows in blocks(analysis).items()}).loc[analysis.labels]
    gains = mean.sub(mean.loc[over]).drop(index=over).rename_axis("method")
    caption = f"Gain over {over} in points, mean over {len(analysis.datasets)} datasets.{_remarks(analysis.labels, [])}"
    name = f"gain_over_{_file(over)}"
    return Table(name, f"Gain over {over}", caption, [str(c) for c in gains], _rows(gains, None, {}, signed=True), gains)


def leaderboard(results: Results | pd.DataFrame, choices: Choices | None = None) -> pd.DataFrame:
    """The leaderboard as a frame, one row per method, best first; for notebooks.

    Args:
        results: What `load` gives, or its frame.
        choices: Control, noise protocol, margin and so on.

    Raises:
        BenchError: As `reports.analysis.analyse`.
    """
    return leaderboard_numbers(analyse(results.frame if isinstance(results, Results) else results, choices))


def _file(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name).strip("_")


def _versus(text: Callable[[pd.Series], str]) -> Callable[[Analysis, str], str]:
    """A leaderboard column that reads the test against the control; a dash for the control itself and the oracles."""
    return lambda analysis, label: text(analysis.versus.T[label]) if label in analysis.versus.index else MISSING


# The leaderboard's columns: name -> text for a label.
LEADERBOARD: dict[str, Callable[[Analysis, str], str]] = {
    "rank": lambda a, label: str(a.ranked.index(label) + 1) if label in a.ranked else MISSING,
    "score": lambda a, label: value(float(a.scores[label].mean())),
    "clean": lambda a, label: value(float(a.clean[label].mean())) if a.clean is not None else MISSING,
    "gain over zero-shot": lambda a, label: value(float((a.scores[label] - a.zero_shot).mean()), signed=True),
    "difference": _versus(lambda row: value(row["difference"], signed=True)),
    "95 % interval": _versus(lambda row: f"{value(row['low'], signed=True)} to {value(row['high'], signed=True)}"),
    "p (Holm)": _versus(lambda row: p_text(row["p_holm"])),
    "wins/ties/losses": _versus(lambda row: f"{row['wins']:.0f}/{row['ties']:.0f}/{row['losses']:.0f}"),
    "rank-biserial": _versus(lambda row: f"{row['rank_biserial']:+.2f}"),
    "P(worse)": _versus(lambda row: f"{row['p_worse']:.2f}"),
    "P(equivalent)": _versus(lambda row: f"{row['p_equivalent']:.2f}"),
    "P(better)": _versus(lambda row: f"{row['p_better']:.2f}"),
}


def checked_columns(text: str) -> tuple[str, ...]:
    """The leaderboard's columns from a comma-separated list; "" is all.

    Raises:
        BenchError: One is unknown.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in LEADERBOARD:
            raise BenchError(f"the leaderboard has no column '{name}'.", nearest(name, LEADERBOARD))
    return names


def p_text(p: float) -> str:
    """A p value with two digits, never 0."""
    return f"{p:.2g}" if p >= 1e-4 else "<0.0001"


def p_equals(p: float) -> str:
    """As in a sentence: "p = 0.012", "p < 0.0001"."""
    return f"p = {p_text(p)}".replace("= <", "< ")


def leaderboard_table(analysis: Analysis, columns: tuple[str, ...] = ()) -> Table:
    """The ranking with effects and tests against the control."""
    shown = list(columns or LEADERBOARD)
    rows = [(label, [Cell(LEADERBOARD[column](analysis, label)) for column in shown]) for label in analysis.labels]
    tests = (
        f" Differences, tests and wins (by more than {analysis.choices.margin:g} points) are against {analysis.control}; "
        f"the interval is a BCa bootstrap over datasets; P is Bayesian, with equivalence within {analysis.choices.margin:g} points."
    )
    score = f"Score: mean accuracy over the noisy rates of {analysis.protocol} and {len(analysis.datasets)} datasets, percent."
    caption = score + (tests if analysis.control else "") + _remarks(analysis.labels, [])
    return Table("leaderboard", "Leaderboard", caption, shown, rows, leaderboard_numbers(analysis))


def leaderboard_numbers(analysis: Analysis) -> pd.DataFrame:
    """The leaderboard as numbers, one row per label, best first: score, clean, gain_over_zero_shot, effects against the control."""
    frame = pd.DataFrame(
        {"score": analysis.scores.mean(), "gain_over_zero_shot": analysis.scores.sub(analysis.zero_shot, axis=0).mean()}
    )
    if analysis.clean is not None:
        frame.insert(1, "clean", analysis.clean.mean())
    frame = frame.join(analysis.versus).reindex(analysis.labels)
    frame.index.name = "method"
    return frame
