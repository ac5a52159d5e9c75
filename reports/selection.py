"""Choosing a learning rate where a grid was run, never on test.

Step size and loss are confounded: losses differ in gradient scale, so a comparison at one learning rate can be one of step sizes.
"""

from typing import Literal

import pandas as pd

from bench.errors import BenchError

Selector = Literal["", "noisy_val", "clean_val"]
COLUMN = {"noisy_val": "val_noisy", "clean_val": "val_clean"}


def select(frame: pd.DataFrame, by: Selector = "noisy_val") -> pd.DataFrame:
    """For every label, dataset, noise setting and seed, the run with the best validation accuracy over learning rates.

    Ties go to the lower learning rate. `clean_val` reads what nobody has in practice: the chosen rows are marked as oracles.

    Args:
        frame: One row per run, several learning rates per cell; rows that are failed or untrained pass through.
        by: "noisy_val" (validation shots that carry the same noise) or "clean_val" (an oracle).

    Raises:
        BenchError: A candidate has no validation accuracy.
    """
    column = COLUMN[by]
    candidates = frame[(frame["status"] == "done") & (frame["train"] != "{}") & (frame["source"] == "run")]
    blind = candidates[candidates[column].isna()]
    if len(blind):
        raise BenchError(
            f"--select {by}: {len(blind)} runs have no {column}, for instance {blind['run_id'].iloc[0]}.",
            "Run them with validation shots, or report without --select.",
        )
    rest = frame.drop(candidates.index)
    candidates = candidates.assign(train=candidates["train"].str.replace(r'"lr":[^,}]+', f'"lr":"{by}"', regex=True))
    by_lr = candidates.sort_values([column, "lr"], ascending=[False, True], kind="stable")
    chosen = by_lr.drop_duplicates(["label", "dataset", "noise", "rate", "seed", "train", "backbone", "shots", "views", "task"])
    if by == "clean_val":
        chosen = chosen.assign(oracle=chosen["oracle"].astype(object).where(chosen["oracle"].notna(), "labels"))
    return pd.concat([chosen, rest]).sort_index()
