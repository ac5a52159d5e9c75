"""Choosing a learning rate where a grid was run, never on test.

Step size and loss are confounded: losses differ in gradient scale, so a comparison at one learning rate can be one of step sizes.
"""

import json
from typing import Any, Literal

import pandas as pd

from bench.errors import INCOMPLETE, BenchError
from bench.spec import canonical
from reports.wording import counted

Selector = Literal["", "noisy_val", "clean_val"]
COLUMN = {"noisy_val": "val_noisy", "clean_val": "val_clean"}


CELL = ["label", "dataset", "noise", "rate", "seed", "backbone", "shots", "views", "task"]


def select(frame: pd.DataFrame, by: Selector = "noisy_val", partial: bool = False) -> pd.DataFrame:
    """For every label, dataset, noise setting and seed, the run with the best validation accuracy over learning rates.

    Ties go to the lower learning rate. `clean_val` reads what nobody has in practice: the chosen rows are marked as oracles. A
    learning rate at which a run failed counts as tried. The chosen runs' `train` holds the whole grid as its `lr`, so that they are
    one protocol.

    Args:
        frame: One row per run, several learning rates per cell; rows without a learning rate pass through.
        by: "noisy_val" (validation shots that carry the same noise) or "clean_val" (an oracle).
        partial: Leave out cells that lack a learning rate, instead of refusing.

    Raises:
        BenchError: A candidate has no validation accuracy, or a cell was not run at all of its method's learning rates.
    """
    column = COLUMN[by]
    tried = frame[frame["trained"] & (frame["source"] == "run") & frame["lr"].notna()]
    grids = {str(label): [float(rate) for rate in sorted(rates.unique())] for label, rates in tried.groupby("label")["lr"]}
    asked = {pair: _with_grid(pair[1], grids[pair[0]]) for pair in set(zip(tried["label"], tried["train"], strict=True))}
    tried = tried.assign(train=[asked[pair] for pair in zip(tried["label"], tried["train"], strict=True)])
    counts = tried.groupby([*CELL, "train"])["lr"].transform("nunique")
    lacking = tried[counts < tried["label"].map({label: len(grid) for label, grid in grids.items()})]
    if len(lacking) and not partial:
        row = lacking.iloc[0]
        raise BenchError(
            f"--select {by}: {counted(len(lacking.drop_duplicates(CELL)), 'cell')} not run at all learning rates of its method, "
            f"for "
            f"instance {row['label']} on {row['dataset']} at {row['noise']} {row['rate']:g}, seed {row['seed']:.0f}.",
            "Run the rest of the grid, or leave such cells out with --allow-missing.",
            INCOMPLETE,
        )
    candidates = tried[(tried["status"] == "done") & ~tried.index.isin(lacking.index)]
    blind = candidates[candidates[column].isna()]
    if len(blind):
        raise BenchError(
            f"--select {by}: {counted(len(blind), 'run')} without {column}, for instance {blind['run_id'].iloc[0]}.",
            "Run them with validation shots, or report without --select.",
        )
    best = candidates.sort_values([column, "lr"], ascending=[False, True], kind="stable").drop_duplicates([*CELL, "train"])
    if by == "clean_val":
        best = best.assign(oracle=best["oracle"].astype(object).where(best["oracle"].notna(), "labels"))
    return pd.concat([best, frame.drop(tried.index)]).sort_index()


def _with_grid(train: str, rates: list[float]) -> str:
    """A training protocol's JSON with all learning rates that were tried in place of the one."""
    protocol: dict[str, Any] = json.loads(train)
    return canonical(protocol | {"lr": rates if len(rates) > 1 else rates[0]})
