"""Tables: numbers, their text with the best and the tied marked, and what they were made of."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from reports import cells, statistics
from reports.analysis import Analysis
from reports.statistics import Floats
from reports.wording import counted, value

Mark = Literal["", "best", "tied"]
UNIDENTIFIABLE = " ‡"
TIED = "{tied}"  # stands for the look that a way of writing gives to what is tied with the best
RULE_OVER_DATASETS = (
    f"Bold: best mean, unless the ranks over datasets contradict it. {TIED}: not significantly worse over datasets "
    "(two-sided exact Wilcoxon against the best, Holm, 5 %; t where seeds share an effect)."
)
RULE_FEW_DATASETS = "Bold: best mean; too few datasets for a test."
RULE_ONE_DATASET = (
    f"Bold: best mean. {TIED}: within 1.96 standard errors of it, where an error counts both test images, √(p(1 - p)/n), "
    "and seeds, s/√k."
)
ORACLE_NOTE = "† is told what nobody knows in practice, and competes for no mark."
UNIDENTIFIABLE_NOTE = "‡ the true class is not the most likely label there, on at least one dataset: no part of the score."


@dataclass(frozen=True)
class Entry:
    """One entry of a table: its text and what it stands out for."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True, eq=False)
class Table:
    """A table to be shown; `numbers` is what a spreadsheet wants."""

    name: str  # of its files
    title: str
    caption: str
    columns: list[str]
    rows: list[tuple[str, list[Entry]]]
    numbers: pd.DataFrame
    groups: list[str] = field(default_factory=list)  # what stands above each column; empty: nothing

    @property
    def heads(self) -> list[str]:
        """The columns' names where there is one line for them."""
        return [f"{group}, {name}" for group, name in zip(self.groups, self.columns, strict=True)] if self.groups else self.columns

    @property
    def text(self) -> list[list[str]]:
        """Rows of plain text, the label first."""
        return [[label, *(entry.text for entry in row)] for label, row in self.rows]

    def _repr_html_(self) -> str:
        """For notebooks."""
        frame = pd.DataFrame([row[1:] for row in self.text], [row[0] for row in self.text], self.heads)
        return str(frame.to_html())


def over_datasets(n: int) -> str:
    """The rule of marks for means over n datasets."""
    return RULE_OVER_DATASETS if n >= statistics.FEWEST else RULE_FEW_DATASETS


def _rows(
    mean: pd.DataFrame, std: pd.DataFrame | None, marks: dict[str, tuple[str, set[str]]], signed: bool = False
) -> list[tuple[str, list[Entry]]]:
    """The text of a table [labels × columns]. `marks` gives each column's best label and those tied with it."""
    means = mean.to_numpy(dtype=float)
    stds = (
        np.full(means.shape, np.nan) if std is None else std.reindex(index=mean.index, columns=mean.columns).to_numpy(dtype=float)
    )

    def entry(i: int, k: int) -> Entry:
        label, (best, tied) = str(mean.index[i]), marks.get(str(mean.columns[k]), ("", set()))
        mark: Mark = "best" if label == best else "tied" if label in tied else ""
        return Entry(value(float(means[i, k]), float(stds[i, k]), signed), mark)

    return [(str(label), [entry(i, k) for k in range(len(mean.columns))]) for i, label in enumerate(mean.index)]


def remarks(analysis: Analysis, hidden: bool = False) -> str:
    """The notes that a caption needs for the marks behind names."""
    return (f" {ORACLE_NOTE}" if analysis.oracles else "") + (f" {UNIDENTIFIABLE_NOTE}" if hidden else "")


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
    found = blocks(analysis)
    by_column = {name: cells.by_seed(rows, analysis.labels) for name, rows in found.items()}
    mean = pd.DataFrame({name: statistics.seed_means(points).mean() for name, points in by_column.items()}).loc[analysis.labels]
    std = pd.DataFrame({name: seed_spread(rows) for name, rows in found.items()}).reindex(analysis.labels)
    marks = {name: statistics.marked(points[analysis.ranked]) for name, points in by_column.items()}
    hidden = {name: not rows["identifiable"].all() for name, rows in found.items()}
    columns = [name + UNIDENTIFIABLE * hidden[name] for name in found]
    n = len(analysis.datasets)
    caption = (
        f"Accuracy in percent, mean over {counted(n, 'dataset')} ± standard deviation over seeds. "
        f"{score_rule(analysis)} {over_datasets(n)}{remarks(analysis, any(hidden.values()))}"
    )
    return Table("methods_by_noise", "Methods by noise", caption, columns, _rows(mean, std, marks), _numbers(mean, std))


def score_rule(analysis: Analysis) -> str:
    """What the score is, as a sentence."""
    rates = sorted(cells.scored(analysis.runs, analysis.protocol)["rate"].unique())
    if rates[-1] == 0:
        return "Score: accuracy on clean labels."
    return f"Score: mean over {analysis.protocol} noise of {', '.join(f'{100 * rate:g}' for rate in rates)} %."


def dataset_table(analysis: Analysis, noise: str, rate: float) -> Table:
    """Method × dataset at one noise setting: mean ± standard deviation over seeds; a dash where there is no run."""
    here = cells.at(analysis.every, noise, rate)
    found = set(here["label"])
    labels = [label for label in analysis.shown if label in found] + sorted(found - set(analysis.labels))
    mean = cells.wide(here, "label", "dataset").loc[labels]
    groups = here.groupby(["label", "dataset"])["accuracy"]
    counts, std = (groups.agg(how).unstack("dataset").reindex_like(mean) for how in ("count", "std"))  # noqa: PD010 - nothing is aggregated
    std.loc[analysis.rows.index[~analysis.rows["trained"]].intersection(labels)] = np.nan
    error = standard_errors(mean, std, counts, here.groupby("dataset")["num_test"].first())
    competing = [label for label in labels if label in analysis.ranked]
    columns_of = zip(mean, mean.loc[competing].to_numpy().T, error.loc[competing].to_numpy().T, strict=True)
    marks = {str(dataset): _near_best(competing, accuracy, errors) for dataset, accuracy, errors in columns_of}
    hidden = set(here.loc[~here["identifiable"], "dataset"])
    columns = [str(dataset) + (UNIDENTIFIABLE if dataset in hidden else "") for dataset in mean]
    name = cells.setting_name(noise, rate)
    caption = (
        f"Accuracy in percent, mean ± standard deviation over seeds, {name}. {RULE_ONE_DATASET}{remarks(analysis, bool(hidden))}"
    )
    file = f"datasets_{name.replace(' ', '_').replace('.', '')}"
    return Table(file, f"Datasets, {name}", caption, columns, _rows(mean, std, marks), _numbers(mean, std))


def _near_best(labels: list[str], accuracy: Floats, errors: Floats) -> tuple[str, set[str]]:
    """The label of the highest accuracy, and those within 1.96 standard errors of it; nobody where nothing was run."""
    if np.isnan(accuracy).all():
        return "", set()
    best = int(np.nanargmax(accuracy))
    near = accuracy >= accuracy[best] - 1.96 * np.hypot(errors, errors[best])
    return labels[best], {label for label, tied in zip(labels, near, strict=True) if tied}


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


def gain_table(analysis: Analysis, mean: pd.DataFrame, over: str) -> Table:
    """Method × noise setting: mean gain over another method, in points.

    Args:
        analysis: What the report is about.
        mean: Percent, [labels × settings], as `noise_table` has it.
        over: The label of the other method.
    """
    gains = mean.sub(mean.loc[over]).drop(index=over).rename_axis("method")
    caption = f"Gain over {over} in points, mean over {counted(len(analysis.datasets), 'dataset')}.{remarks(analysis)}"
    name = f"gain_over_{file_name(over)}"
    return Table(name, f"Gain over {over}", caption, [str(c) for c in gains], _rows(gains, None, {}, signed=True), gains)


def file_name(name: str) -> str:
    """A name that any file system takes."""
    return "".join(c if c.isalnum() else "_" for c in name).strip("_")
