"""From the runs of a tidy frame to comparable cells: one version, one setting, no holes.

A *cell* is method × dataset × noise protocol × rate × seed. The rows of every table and figure are the frame's labels (a method
with its non-default hyper-parameters). What cannot be compared is refused here, so everything after this is arithmetic.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from bench.errors import BenchError, nearest

CELL = ["label", "dataset", "noise", "rate", "seed"]
UNTRAINED = "{}"  # the `train` column of a method that trains nothing
# The columns that say how a run was trained.
OF_TRAINING = ("noise", "rate", "shots", "views", "seed", "epochs", "lr", "preset", "train")
ORACLE = " †"  # ends the label of a method that was told what nobody knows in practice


def where(frame: pd.DataFrame, choices: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The rows whose columns hold one of the chosen values, compared as text (and as numbers where both are numbers).

    An untrained method's one run holds at every setting of the training, so a choice among those keeps it.

    Raises:
        BenchError: An unknown column, or a value that no run has.
    """
    for column, values in choices.items():
        if column not in frame:
            raise BenchError(f"--where: results have no column '{column}'.", nearest(column, frame.columns))
        held = frame[column]
        keep = (frame["train"] == UNTRAINED) & (column in OF_TRAINING)
        for value in values:
            found = held.astype(str) == value
            if pd.api.types.is_numeric_dtype(held) and not pd.api.types.is_bool_dtype(held):
                found = held == pd.to_numeric(value, errors="coerce")
            if not found.any():
                raise BenchError(f"--where {column}={value} matches no run.", nearest(value, held.astype(str).unique()))
            keep |= found
        frame = frame[keep]
    return frame


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """The finished runs, each label one training protocol, with a column `trained`.

    Labels that were run under several training protocols (a learning-rate grid) become rows of their own: "gce lr=0.01". Oracles
    are marked: "clean_only †".

    Args:
        frame: As `bench.results.load` gives it.

    Raises:
        BenchError: No finished run; one cell in several versions; several backbones, shots, views, or splits of a dataset.
    """
    runs = _labelled(frame)
    runs = runs[runs["status"] == "done"]
    if runs.empty:
        raise BenchError("there is no finished run in these results.", "`bench status` tells what failed or is still to run.")
    runs = runs.assign(identifiable=runs["identifiable"].astype(bool))
    _one_version(runs)
    _one_setting(runs)
    twice = runs[runs.duplicated(CELL, keep=False)]
    if len(twice):
        label, dataset, noise, rate, seed = twice.iloc[0][CELL]
        raise BenchError(
            f"'{label}' on {dataset} at {noise} {rate:g}, seed {seed}, is there twice (runs {', '.join(twice['run_id'][:2])}).",
            "Choose one with --where.",
        )
    return runs.reset_index(drop=True)


def failed(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs that failed, labelled as `comparable` labels the others."""
    runs = _labelled(frame)
    return runs[runs["status"] == "failed"]


def _labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """All runs, finished or not, with a column `trained` and labels that tell training protocols and oracles apart."""
    runs = frame[frame["source"] == "run"]
    runs = runs.assign(trained=runs["train"] != UNTRAINED)
    return runs.assign(label=_tell_apart(runs) + np.where(runs["oracle"].notna(), ORACLE, ""))


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
        f"{mixed['cell_id'].nunique()} cells hold several versions: {where_}, differs in {' and '.join(what)}.",
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


def _tell_apart(runs: pd.DataFrame) -> pd.Series:
    """Labels, with what differs among the runs of one label appended: hyper-parameters (a default changed), training keys."""
    labels = runs["label"].copy()
    for column in ("params", "train"):
        found = runs.loc[runs["trained"], column].groupby(labels[runs["trained"]]).unique()
        for label, texts in found[found.map(len) > 1].items():
            variants = {text: json.loads(text) for text in texts}
            keys = [k for k in next(iter(variants.values())) if len({json.dumps(v.get(k)) for v in variants.values()}) > 1]
            rows = labels == label
            for text, variant in variants.items():
                labels[rows & (runs[column] == text)] = " ".join(
                    [str(label), *(f"{key}={_text(variant.get(key))}" for key in keys)]
                )
    return labels


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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
    return rows.pivot_table(index=index, columns=columns, values="accuracy", aggfunc="mean")


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
    noisy = curve[(curve["rate"] > 0) & curve["identifiable"]]
    return noisy if len(noisy) else curve


def primary_scores(runs: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """The score that ranks: accuracy averaged over seeds, then over the noisy, identifiable rates of one protocol.

    Where there is no such rate, it is the clean accuracy.

    Args:
        runs: Complete and spread.
        protocol: The noise protocol.

    Returns:
        Percent, [datasets × labels].
    """
    means = scored(runs, protocol).groupby(["dataset", "label", "rate"])["accuracy"].mean()
    return wide(means.reset_index())


def scores_at(runs: pd.DataFrame, protocol: str, rate: float) -> pd.DataFrame:
    """Accuracy at one rate, averaged over seeds: percent, [datasets × labels]."""
    curve = of_protocol(runs, protocol)
    return wide(curve[curve["rate"] == rate])
