"""From the runs of a tidy frame to comparable cells: one version, one setting, one pairing, no holes.

Of a report's runs a cell (CONTRIBUTING.md) is told by label, dataset, noise protocol, rate and seed: all else is one setting, or
shows in the label (`reports.labels`). What cannot be compared is refused here, so everything after this is arithmetic.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import pandas as pd

from bench.errors import BenchError, nearest
from reports import labels
from reports.wording import counted

CELL = ["label", "dataset", "noise", "rate", "seed"]
# What runs that are compared must share, and what is said where they do not.
PAIRED = {
    "noise_digest": "other shots or other labels of them",
    "num_test": "other test images",
    "zero_shot": "another zero-shot accuracy",
}
FEW = 12  # values of a setting; a measurement has more
# The columns that say how a run was trained.
OF_TRAINING = ("noise", "rate", "shots", "views", "seed", "epochs", "lr", "preset", "train")


def where(frame: pd.DataFrame, choices: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The rows whose columns hold one of the chosen values, compared as text (and as numbers where both are numbers).

    A key of the training protocol counts as a column. An untrained method's one run holds at every setting of the training, so a
    choice among those keeps it.

    Raises:
        BenchError: An unknown column, or a value that no run has.
    """
    for column, values in choices.items():
        if column not in frame and column not in labels.ABSENT:
            raise BenchError(f"--where: results have no column '{column}'.", nearest(column, [*frame.columns, *labels.ABSENT]))
        if isinstance(values, str) or not isinstance(values, Iterable) or not list(values):
            hint = f"For instance {{'{column}': ['{values or 'value'}']}}."
            raise BenchError(f"--where {column} needs a list of values, not {values!r}.", hint)
        held = frame[column] if column in frame else _setting(frame, column)
        keep = ~frame["trained"] & (column in OF_TRAINING or column in labels.ABSENT)
        for value in map(str, values):
            found = held.astype(str) == value
            if pd.api.types.is_numeric_dtype(held) and not pd.api.types.is_bool_dtype(held):
                found = held == pd.to_numeric(value, errors="coerce")
            if not found.any():
                raise BenchError(f"--where {column}={value} matches no run.", _held(held.dropna(), value))
            keep |= found
        frame = frame[keep]
    return frame


def _held(held: pd.Series, value: str) -> str:
    """A hint at what a column holds: the span of a measurement, else the nearest value."""
    if pd.api.types.is_float_dtype(held) and held.nunique() > FEW:
        return f"It is a number between {held.min():g} and {held.max():g}."
    return nearest(value, held.astype(str).unique()) if len(held) else "It holds nothing here."


def _setting(frame: pd.DataFrame, key: str) -> pd.Series:
    """What a key of the training protocol is in every run."""
    return frame["train"].map({train: labels.text((labels.ABSENT | json.loads(train))[key]) for train in frame["train"].unique()})


def comparable(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished runs, each label one training protocol, all methods on the same shots and labels.

    Args:
        runs: As `labelled` gives them.

    Raises:
        BenchError: No finished run; one cell in several versions or twice; several backbones, shots, views, or splits of a dataset;
            runs of one dataset, noise setting and seed that saw different shots, labels, test images or zero-shot predictions.
    """
    runs = runs[runs["status"] == "done"]
    if runs.empty:
        raise BenchError("there is no finished run in these results.", "`bench status` tells what failed or is still to run.")
    runs = runs.assign(identifiable=runs["identifiable"].astype(object).fillna(value=True).astype(bool))
    _one_version(runs)
    _one_setting(runs)
    twice = runs[runs.duplicated(CELL, keep=False)]
    if len(twice):
        label, dataset, noise, rate, seed = twice.iloc[0][CELL]
        raise BenchError(
            f"'{label}' on {dataset} at {setting_name(noise, rate)}, seed {seed}, is there twice (runs "
            f"{', '.join(twice['run_id'][:2])}).",
            "Choose one with --where.",
        )
    _one_pairing(runs)
    return runs.reset_index(drop=True)


def _one_version(runs: pd.DataFrame) -> None:
    versions = runs[["cell_id", "method_version", "engine_version", "features"]].drop_duplicates()
    mixed = versions[versions.duplicated("cell_id", keep=False)]
    if mixed.empty:
        return
    cell = mixed["cell_id"].iloc[0]
    found = mixed[mixed["cell_id"] == cell]
    what = [name for name in ("method_version", "engine_version", "features") if len(found[name].unique()) > 1]
    run = runs[runs["cell_id"] == cell].iloc[0]
    where_ = f"'{run['label']}' on {run['dataset']} at {setting_name(run['noise'], run['rate'])}, seed {run['seed']}"
    raise BenchError(
        f"{counted(mixed['cell_id'].nunique(), 'cell')} in several versions: {where_}, differs in {' and '.join(what)}.",
        "Remove the superseded runs (bench store gc), and run again what is stale (bench plan shows it).",
    )


def _one_setting(runs: pd.DataFrame) -> None:
    trained = runs[runs["trained"]]
    for column, rows in (("backbone", runs), ("shots", trained), ("views", trained)):
        found = sorted(rows[column].unique())
        if len(found) > 1:
            raise BenchError(
                f"results hold several {column}: {', '.join(map(str, found))}; one report compares like with like.",
                f"Choose with --where {column}={found[-1]}.",
            )
    tasks = runs.groupby("dataset")["task"].nunique()
    if (tasks > 1).any():
        name = tasks[tasks > 1].index[0]
        found = runs.loc[runs["dataset"] == name, "task"].unique()
        raise BenchError(
            f"dataset '{name}' is there with several splits or class names ({', '.join(found)}).",
            f"Choose with --where task={found[0]}, or give the other one a name of its own.",
        )


def _one_pairing(runs: pd.DataFrame) -> None:
    """One choice of shots and labels (the digest is of both) at a dataset, noise setting and seed; one test set, one zero-shot."""
    for column, what in PAIRED.items():
        values = paired(runs, column)
        rows = runs.assign(**{column: values})[values.notna()]
        keys = ["dataset", "noise", "rate", "seed"] if column == "noise_digest" else ["dataset"]
        counts = rows.groupby(keys)[column].transform("nunique")
        if (counts > 1).any():
            group = rows[counts > 1].iloc[:1].merge(rows, on=keys, suffixes=("_", ""))
            usual = group[column].mode().iloc[0]
            odd, other = group[group[column] != usual].iloc[0], group[group[column] == usual].iloc[0]
            raise BenchError(
                f"run {odd['run_id']} ('{odd['label']}' on {odd['dataset']} at {setting_name(odd['noise'], odd['rate'])}, seed "
                f"{odd['seed']}) has {what} than run {other['run_id']} ('{other['label']}'): they cannot be compared.",
                "Run them again from the same split and features, or choose with --where.",
            )


def paired(runs: pd.DataFrame, column: str) -> pd.Series:
    """A column of `PAIRED`, without what rounding does; missing where a run has none."""
    values: pd.Series = runs[column]
    if column == "zero_shot":
        return values.round(6)
    return values.where(runs["trained"] & (values != "") if column == "noise_digest" else values > 0)


def settings(runs: pd.DataFrame) -> pd.DataFrame:
    """The noise settings (protocol, rate) that any trained method was run at, in order; "clean" at 0 where nothing was trained."""
    trained = runs[runs["trained"]]
    rows = trained if len(trained) else runs
    return rows[["noise", "rate"]].drop_duplicates().sort_values(["rate", "noise"]).reset_index(drop=True)


def spread(runs: pd.DataFrame) -> pd.DataFrame:
    """The cells as curves need them: an untrained method's one run per dataset holds at every noise setting and seed."""
    untrained = runs[~runs["trained"]].drop(columns=["noise", "rate", "seed", "identifiable"])
    trained = runs[runs["trained"]]
    if untrained.empty or trained.empty:
        return runs
    grid = settings(runs).merge(trained[["seed"]].drop_duplicates(), how="cross")
    known = trained[["dataset", "noise", "rate", "identifiable"]].drop_duplicates(["dataset", "noise", "rate"])
    everywhere = untrained.merge(grid, how="cross").merge(known, on=["dataset", "noise", "rate"], how="left")
    everywhere["identifiable"] = everywhere["identifiable"].fillna(value=True).astype(bool)
    return pd.concat([trained, everywhere], ignore_index=True)


def protocols(runs: pd.DataFrame) -> list[str]:
    """The noise protocols beside "clean": symmetric first, then by name."""
    return sorted(set(runs["noise"]) - {"clean"}, key=lambda name: (name != "symmetric", name))


def of_protocol(runs: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """The runs of one protocol; the clean ones are its rate 0."""
    return runs[runs["noise"].isin([protocol, "clean"])]


def wide(rows: pd.DataFrame, index: str = "dataset", columns: str = "label") -> pd.DataFrame:
    """Mean accuracy as a matrix [index × columns]."""
    return rows.groupby([index, columns])["accuracy"].mean().unstack(columns)  # noqa: PD010 - as pivot_table, in half its time


def number(table: pd.DataFrame, row: str | float, column: str) -> float:
    """One number of a table."""
    return float(cast("float", table.at[row, column]))  # noqa: PD008 - one cell


def at(runs: pd.DataFrame, noise: str, rate: float) -> pd.DataFrame:
    """The runs at one noise setting."""
    return runs[(runs["noise"] == noise) & (runs["rate"] == rate)]


def setting_name(noise: str, rate: float) -> str:
    """How a noise setting is written: "clean", "symmetric 0.5"."""
    return "clean" if rate == 0 else f"{noise} {rate:g}"


def scored(runs: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """The runs that the score counts: noisy and identifiable ones of a protocol; the clean ones where there are no such."""
    curve = of_protocol(runs, protocol)
    for rows in (curve[(curve["rate"] > 0) & curve["identifiable"]], curve[curve["rate"] == 0]):
        if len(rows):
            return rows
    return curve


def by_seed(rows: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Accuracy of some labels averaged over rates, as `reports.statistics` wants it: percent, [datasets × (label, seed)]."""
    means = rows[rows["label"].isin(labels)].groupby(["dataset", "label", "seed"])["accuracy"].mean()
    return means.unstack(["label", "seed"])[list(labels)]  # noqa: PD010 - as above
