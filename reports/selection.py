"""Choosing a learning rate where a grid was run, never on test.

Step size and loss are confounded: losses differ in gradient scale, so a comparison at one learning rate can be one of step sizes.
"""

import re
from typing import Literal

import pandas as pd

from bench.errors import INCOMPLETE, BenchError

Selector = Literal["", "noisy_val", "clean_val"]
COLUMN = {"noisy_val": "val_noisy", "clean_val": "val_clean"}


CELL = ["label", "dataset", "noise", "rate", "seed", "backbone", "shots", "views", "task"]


def select(frame: pd.DataFrame, by: Selector = "noisy_val", partial: bool = False) -> pd.DataFrame:
    """For every label, dataset, noise setting and seed, the run with the best validation accuracy over learning rates.

    Ties go to the lower learning rate. `clean_val` reads what nobody has in practice: the chosen rows are marked as oracles. A
    learning rate at which a run failed counts as tried.

    Args:
        frame: One row per run, several learning rates per cell; untrained rows pass through.
        by: "noisy_val" (validation shots that carry the same noise) or "clean_val" (an oracle).
        partial: Leave out cells that lack a learning rate, instead of refusing.

    Raises:
        BenchError: A candidate has no validation accuracy, or a cell was not run at all of its method's learning rates.
    """
    column = COLUMN[by]
    tried = frame[(frame["train"] != "{}") & (frame["source"] == "run")]
    tried = tried.assign(others=tried["train"].str.replace(r'"lr":[^,}]+', "", regex=True))
    grids = {str(label): sorted(rates.unique()) for label, rates in tried.groupby("label")["lr"]}
    counts = tried.groupby([*CELL, "others"])["lr"].transform("nunique")
    lacking = tried[counts < tried["label"].map({label: len(grid) for label, grid in grids.items()})]
    if len(lacking) and not partial:
        row = lacking.iloc[0]
        raise BenchError(
            f"--select {by}: {len(lacking.drop_duplicates(CELL))} cells were not run at all learning rates of their method, for "
            f"instance {row['label']} on {row['dataset']} at {row['noise']} {row['rate']:g}, seed {row['seed']:.0f}.",
            "Run the rest of the grid, or leave such cells out with --allow-missing.",
            INCOMPLETE,
        )
    candidates = tried[(tried["status"] == "done") & ~tried.index.isin(lacking.index)]
    blind = candidates[candidates[column].isna()]
    if len(blind):
        raise BenchError(
            f"--select {by}: {len(blind)} runs have no {column}, for instance {blind['run_id'].iloc[0]}.",
            "Run them with validation shots, or report without --select.",
        )
    best = candidates.sort_values([column, "lr"], ascending=[False, True], kind="stable").drop_duplicates([*CELL, "others"])
    shown = best["label"].map(
        {label: f'"lr":"{by} of {", ".join(repr(float(rate)) for rate in grid)}"' for label, grid in grids.items()}
    )
    texts = [re.sub(r'"lr":[^,}]+', lr, train) for lr, train in zip(shown, best["train"], strict=True)]
    best = best.assign(train=texts).drop(columns="others")
    if by == "clean_val":
        best = best.assign(oracle=best["oracle"].astype(object).where(best["oracle"].notna(), "labels"))
    return pd.concat([best, frame.drop(tried.index)]).sort_index()
