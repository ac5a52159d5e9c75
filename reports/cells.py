"""From the runs of a tidy frame to comparable cells: one version, one setting, no holes.

A *cell* is method × dataset × noise protocol × rate × seed. The rows of every table and figure are the frame's labels (a method
with its non-default hyper-parameters). What cannot be compared is refused here, so everything after this is arithmetic.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from bench.errors import INCOMPLETE, BenchError, nearest

AllowMissing = Literal["", "drop-dataset", "drop-method"]
CELL = ["label", "dataset", "noise", "rate", "seed"]
UNTRAINED = "{}"  # the `train` column of a method that trains nothing
ORACLE = " †"  # ends the label of a method that was told what nobody knows in practice


class IncompleteError(BenchError):
    """Cells are missing (exit code 4). `cells` lists them, `grid` is a grid file's table that would run them."""

    def __init__(self, message: str, hint: str, holes: pd.DataFrame, grid: dict[str, Any]) -> None:
        super().__init__(message, hint, INCOMPLETE)
        self.cells, self.grid = holes, grid


def where(frame: pd.DataFrame, choices: Mapping[str, str]) -> pd.DataFrame:
    """The rows whose columns hold the chosen values, compared as text (and as numbers where both are numbers).

    Raises:
        BenchError: An unknown column, or nothing is left.
    """
    for column, value in choices.items():
        if column not in frame:
            raise BenchError(f"--where: results have no column '{column}'.", nearest(column, frame.columns))
        held = frame[column]
        keep = held.astype(str) == value
        if pd.api.types.is_numeric_dtype(held) and not pd.api.types.is_bool_dtype(held):
            keep = held == pd.to_numeric(value, errors="coerce")
        if not keep.any():
            raise BenchError(f"--where {column}={value} matches no run.", nearest(value, held.astype(str).unique()))
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
    runs = frame[(frame["status"] == "done") & (frame["source"] == "run")]
    if runs.empty:
        raise BenchError("there is no finished run in these results.", "`bench status` tells what failed or is still to run.")
    _one_version(runs)
    runs = runs.assign(trained=runs["train"] != UNTRAINED, identifiable=runs["identifiable"].astype(bool))
    _one_setting(runs)
    runs = runs.assign(label=_tell_apart(runs) + np.where(runs["oracle"].notna(), ORACLE, ""))
    twice = runs[runs.duplicated(CELL, keep=False)]
    if len(twice):
        label, dataset, noise, rate, seed = twice.iloc[0][CELL]
        raise BenchError(
            f"'{label}' on {dataset} at {noise} {rate:g}, seed {seed}, is there twice (runs {', '.join(twice['run_id'][:2])}).",
            "Choose one with --where.",
        )
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
    """Labels, with the training keys that differ among the runs of one label appended."""
    labels = runs["label"].copy()
    variants = runs.loc[runs["trained"], ["label", "train"]].drop_duplicates()
    for label, texts in variants.groupby("label")["train"]:
        if len(texts) == 1:
            continue
        protocols = {text: json.loads(text) for text in texts}
        keys = [k for k in next(iter(protocols.values())) if len({json.dumps(p.get(k)) for p in protocols.values()}) > 1]
        for text, protocol in protocols.items():
            rows = (runs["label"] == label) & (runs["train"] == text)
            labels[rows] = " ".join([str(label), *(f"{key}={_text(protocol.get(key))}" for key in keys)])
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


def missing(runs: pd.DataFrame) -> pd.DataFrame:
    """The cells that a full grid over the labels, datasets, noise settings and seeds of these runs would have and they lack.

    Args:
        runs: As `spread` gives them.

    Returns:
        One row per missing cell: label, dataset, noise, rate, seed.
    """
    full = runs[["label"]].drop_duplicates()
    seeded = runs[runs["trained"]] if runs["trained"].any() else runs
    for part in (runs[["dataset"]], settings(runs), seeded[["seed"]]):
        full = full.merge(part.drop_duplicates(), how="cross")
    have = pd.MultiIndex.from_frame(runs[CELL])
    return full[~pd.MultiIndex.from_frame(full[CELL]).isin(have)].sort_values(CELL).reset_index(drop=True)


def complete(runs: pd.DataFrame, allow: AllowMissing = "") -> tuple[pd.DataFrame, list[str]]:
    """The runs without holes, and one note for everything that was left out.

    Args:
        runs: As `spread` gives them.
        allow: What to leave out: datasets or methods with a missing cell; "" refuses.

    Raises:
        IncompleteError: Cells are missing and nothing may be left out, or nothing would be left.
    """
    holes = missing(runs)
    if holes.empty:
        return runs, []
    if not allow:
        message = f"{len(holes)} of {len(holes) + len(runs)} cells are missing:\n{listing(holes)}\n"
        hint = "Run them, or leave out what is incomplete: --allow-missing drop-dataset (or drop-method)."
        raise IncompleteError(message, hint, holes, missing_grid(runs, holes))
    axis, word = ("dataset", "dataset") if allow == "drop-dataset" else ("label", "method")
    counts = holes.groupby(axis).size()
    left = runs[~runs[axis].isin(counts.index)]
    if left.empty:
        message = f"every {word} has missing cells; {allow} would leave nothing."
        raise IncompleteError(message, "Run them.", holes, missing_grid(runs, holes))
    return left, [
        f"{word} '{name}' is left out of averages and tests ({count} cells are missing)" for name, count in counts.items()
    ]


def listing(cells: pd.DataFrame, most: int = 20) -> str:
    """The cells as lines, at most `most` of them."""
    lines = [f"  {c.label} · {c.dataset} · {c.noise} {c.rate:g} · seed {c.seed}" for c in cells.head(most).itertuples()]
    return "\n".join(lines + ([f"  … and {len(cells) - most} more"] if len(cells) > most else []))


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


def missing_grid(runs: pd.DataFrame, holes: pd.DataFrame) -> dict[str, Any]:
    """A grid that covers the missing cells, as the table of a grid file; finished runs are skipped when it is run.

    Args:
        runs: The comparable runs.
        holes: As `missing` gives them.
    """
    trained = runs[runs["trained"]]
    wanted = runs[runs["label"].isin(holes["label"])]
    protocols = [json.loads(text) for text in wanted.loc[wanted["trained"], "train"].unique()]
    train = {key: _one_or_all([protocol[key] for protocol in protocols]) for key in (protocols[0] if protocols else {})}
    if isinstance(train.get("lr"), str):  # chosen by `reports.selection`, which names the grid it chose from
        train["lr"] = [float(rate) for rate in train["lr"].split(" of ")[1].split(", ")]
    noise: dict[str, list[float]] = {}
    for protocol, rate in holes[["noise", "rate"]].drop_duplicates().itertuples(index=False):
        noise.setdefault("symmetric" if protocol == "clean" else protocol, []).append(float(rate))
    first = (trained if len(trained) else runs).iloc[0]
    methods = wanted[["method", "params"]].drop_duplicates().itertuples(index=False)
    return {
        "name": "missing",
        "methods": [{"name": name, **json.loads(params)} for name, params in methods],
        "datasets": sorted(holes["dataset"].unique()),
        "backbones": sorted(runs["backbone"].unique()),
        "views": int(first["views"]),
        "shots": [int(first["shots"])],
        "seeds": sorted(int(seed) for seed in holes["seed"].unique()),
        "noise": noise,
        "train": train,
    }


def _one_or_all(values: list[Any]) -> Any:
    """The value that all share, or every one of them."""
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else distinct


def toml(table: Mapping[str, Any]) -> str:
    """A grid's table as TOML: every value inline. JSON's text, numbers and lists are TOML's; None is left out."""

    def inline(value: Any) -> str:
        if isinstance(value, Mapping):
            return "{" + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items() if v is not None) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(inline, value)) + "]"
        return json.dumps(value, ensure_ascii=False)

    return "".join(f"{key} = {inline(value)}\n" for key, value in table.items() if value is not None)
