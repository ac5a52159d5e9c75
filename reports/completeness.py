"""Which cells a full grid would have and are not there, and the grid that would run them. Nothing is imputed."""

import json
from typing import Any, Literal

import pandas as pd

from bench.errors import INCOMPLETE, BenchError
from reports import cells, labels
from reports.wording import counted

AllowMissing = Literal["", "drop-dataset", "drop-method"]


class IncompleteError(BenchError):
    """Cells are missing (exit code 4). `cells` lists them, `grid` is a grid file's table that would run them."""

    def __init__(self, message: str, hint: str, holes: pd.DataFrame, grid: dict[str, Any]) -> None:
        super().__init__(message, hint, INCOMPLETE)
        self.cells, self.grid = holes, grid


def missing(runs: pd.DataFrame, failed: pd.DataFrame | None = None) -> pd.DataFrame:
    """The cells that a full grid over the labels, datasets, noise settings and seeds of these runs would have and they lack.

    Args:
        runs: As `spread` gives them.
        failed: Runs that failed: missing, even where nothing else of their method or dataset is there.

    Returns:
        One row per missing cell: label, dataset, noise, rate, seed.
    """
    full = runs[["label"]].drop_duplicates()
    seeded = runs[runs["trained"]] if runs["trained"].any() else runs
    for part in (runs[["dataset"]], cells.settings(runs), seeded[["seed"]]):
        full = full.merge(part.drop_duplicates(), how="cross")
    if failed is not None:
        full = pd.concat([full, failed[cells.CELL]]).drop_duplicates()
    have = pd.MultiIndex.from_frame(runs[cells.CELL])
    return full[~pd.MultiIndex.from_frame(full[cells.CELL]).isin(have)].sort_values(cells.CELL).reset_index(drop=True)


def complete(runs: pd.DataFrame, allow: AllowMissing = "", failed: pd.DataFrame | None = None) -> tuple[pd.DataFrame, list[str]]:
    """The runs without holes, and one note for everything that was left out.

    Args:
        runs: As `spread` gives them.
        allow: What to leave out: datasets or methods with a missing cell; "" refuses.
        failed: As for `missing`.

    Raises:
        IncompleteError: Cells are missing and nothing may be left out, or nothing would be left.
    """
    holes = missing(runs, failed)
    asked = runs if failed is None else pd.concat([runs, failed])
    if holes.empty:
        return runs, []
    if not allow:
        message = f"{counted(len(holes), 'cell')} of {len(holes) + len(runs)} missing:\n{listing(holes)}\n"
        hint = "Run them, or leave out what is incomplete: --allow-missing drop-dataset (or drop-method)."
        raise IncompleteError(message, hint, holes, missing_grid(asked, holes))
    axis, word = ("dataset", "dataset") if allow == "drop-dataset" else ("label", "method")
    counts = holes.groupby(axis).size()
    left = runs[~runs[axis].isin(counts.index)]
    if left.empty:
        message = f"every {word} has missing cells; {allow} would leave nothing."
        raise IncompleteError(message, "Run them.", holes, missing_grid(asked, holes))
    return left, [
        f"{word} '{name}' is left out of averages and tests ({counted(count, 'cell')} missing)" for name, count in counts.items()
    ]


def listing(holes: pd.DataFrame, most: int = 20) -> str:
    """The cells as lines, at most `most` of them."""
    rows = holes.head(most)[cells.CELL].itertuples(index=False)
    lines = [
        f"  {label} · {dataset} · {cells.setting_name(noise, rate)} · seed {seed}" for label, dataset, noise, rate, seed in rows
    ]
    return "\n".join(lines + ([f"  … and {len(holes) - most} more"] if len(holes) > most else []))


def missing_grid(runs: pd.DataFrame, holes: pd.DataFrame) -> dict[str, Any]:
    """A grid that covers the missing cells, as the table of a grid file; finished runs are skipped when it is run.

    Args:
        runs: The comparable runs, and those that failed.
        holes: As `missing` gives them.
    """
    trained = runs[runs["trained"]]
    wanted = runs[runs["label"].isin(holes["label"])]
    train = _protocols([labels.ABSENT | json.loads(text) for text in wanted.loc[wanted["epochs"] > 0, "train"].unique()])
    noise: dict[str, list[float]] = {}
    for protocol, rate in holes[["noise", "rate"]].drop_duplicates().itertuples(index=False):
        noise.setdefault("symmetric" if protocol == "clean" else protocol, []).append(float(rate))
    first = (trained if len(trained) else runs).iloc[0]
    asked = wanted[["method", "params", "tunes"]].drop_duplicates()
    methods = [{"name": name, **json.loads(params), "tunes": tunes} for name, params, tunes in asked.itertuples(index=False)]
    return {
        "name": "missing",
        "methods": [{key: value for key, value in one.items() if (key, value) != ("tunes", "prompt")} for one in methods],
        "datasets": sorted(holes["dataset"].unique()),
        "backbones": sorted(runs["backbone"].unique()),
        "views": int(first["views"]),
        "shots": [int(first["shots"])],
        "seeds": sorted(int(seed) for seed in holes["seed"].unique()),
        "noise": noise,
        "train": train[0] if len(train) == 1 else train or {},
        **({"select": "noisy_val"} if any(isinstance(one["lr"], list) for one in train) else {}),
    }


def _protocols(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The `[[train]]` tables of some protocols: those that differ in the learning rate alone are one, with all their rates."""
    tables: dict[str, dict[str, Any]] = {}
    for one in asked:
        rates = one["lr"] if isinstance(one["lr"], list) else [one["lr"]]  # a list is what `reports.selection` chose from
        table = tables.setdefault(json.dumps(one | {"lr": 0}, sort_keys=True), one | {"lr": []})
        table["lr"] += [rate for rate in rates if rate not in table["lr"]]
    return [one | {"lr": one["lr"] if len(one["lr"]) > 1 else one["lr"][0]} for one in tables.values()]
