"""Two result sets against each other: yours against the reference, before against after a change."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from bench.errors import BenchError
from bench.results.frame import Results
from reports import bayes, cells, statistics
from reports.tables import Cell, Table, p_text, value

Verdict = Literal["better", "worse", "equivalent", "undecided"]
SPECIFICATION = ("params", "train", "shots", "views", "backbone", "task", "method_version", "engine_version", "features")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What differs between two result sets A and B."""

    methods: (
        pd.DataFrame
    )  # per label: a, b, difference (b - a), low, high, p, p_holm, p_worse, p_equivalent, p_better, datasets, verdict
    changes: list[str]  # what changed in the specification
    notes: list[str]
    margin: float

    @property
    def worse(self) -> list[str]:
        """The labels that got significantly worse."""
        return [str(label) for label in self.methods.index[self.methods["verdict"] == "worse"]]


def compare(a: Results | pd.DataFrame, b: Results | pd.DataFrame, margin: float = 0.5) -> Comparison:
    """Method by method, B minus A over the cells that both have.

    A verdict is "better" or "worse" when Holm's exact Wilcoxon over datasets is significant at 5 %; else "equivalent" when the
    probability of lying within `margin` points is at least .95; else "undecided". Where there are too few datasets for significance
    (below six for one method), the runs of one dataset cannot replace them, and the verdict says so by staying undecided.

    Args:
        a: The reference, or before.
        b: Yours, or after.
        margin: Points.

    Raises:
        BenchError: No cell is in both, or one of the two cannot be compared within itself.
    """
    first, second = (cells.comparable(one.frame if isinstance(one, Results) else one) for one in (a, b))
    both = first.merge(second, on=cells.CELL, suffixes=("_a", "_b"))
    if both.empty:
        raise BenchError(
            "the two result sets have no cell in common (method × dataset × noise × rate × seed).",
            "`bench status` shows what each holds.",
        )
    rows = {str(label): _row(group, margin) for label, group in both.groupby("label", sort=True)}
    methods = pd.DataFrame.from_dict(rows, orient="index").rename_axis("label")
    methods.insert(5, "p_holm", statistics.holm(methods["p"].to_numpy(dtype=float)))
    methods["verdict"] = [_verdict(row) for _, row in methods.iterrows()]
    least = statistics.smallest_p(int(methods["datasets"].max())) * len(methods)
    notes = [f"{len(both)} cells are in both; {len(first) - len(both)} only in A, {len(second) - len(both)} only in B"]
    if least > statistics.ALPHA:
        notes.append(statistics.attainable(int(methods["datasets"].max()), len(methods)).rstrip("."))
    return Comparison(methods, changes(both), notes, margin)


def _row(group: pd.DataFrame, margin: float) -> dict[str, float]:
    """One method: its seeds and settings averaged to one difference per dataset."""
    scores = group.groupby(["dataset", "noise", "rate"])[["accuracy_a", "accuracy_b"]].mean().groupby(level="dataset").mean()
    d = (scores["accuracy_b"] - scores["accuracy_a"]).to_numpy(dtype=float)
    low, high = statistics.mean_interval(d)
    mean = scores.mean()
    return {
        "a": float(mean["accuracy_a"]), "b": float(mean["accuracy_b"]), "difference": float(d.mean()), "low": low, "high": high,
        "p": statistics.wilcoxon(d), **{f"p_{name}": p for name, p in bayes.signed_rank(d, margin)._asdict().items()},
        "datasets": len(d),
    }  # fmt: skip


def _verdict(row: "pd.Series") -> Verdict:
    if row["p_holm"] <= statistics.ALPHA:
        return "worse" if row["difference"] < 0 else "better"
    return "equivalent" if row["p_equivalent"] >= bayes.SURE else "undecided"


def changes(both: pd.DataFrame) -> list[str]:
    """What differs in the specification of equal cells: a line per column, old → new, and how many cells it concerns."""
    found = []
    for column in SPECIFICATION:
        left, right = both[f"{column}_a"], both[f"{column}_b"]
        differs = (left != right) & ~(left.isna() & right.isna())
        if not differs.any():
            continue
        pairs = Counter(zip(left[differs].astype(str), right[differs].astype(str), strict=True))
        found += [f"{column}: {_difference(column, old, new)} ({count} cells)" for (old, new), count in pairs.most_common(3)]
        found += [f"{column}: {len(pairs) - 3} further differences"] if len(pairs) > 3 else []
    return found


def _difference(column: str, old: str, new: str) -> str:
    if column not in ("params", "train"):
        return f"{old} → {new}"
    before, after = json.loads(old), json.loads(new)
    keys = [key for key in sorted(before | after) if before.get(key) != after.get(key)]
    return ", ".join(f"{key} {before.get(key)} → {after.get(key)}" for key in keys)


def comparison_table(found: Comparison) -> Table:
    """The comparison as a table, largest loss first."""
    rows = []
    ordered = found.methods.sort_values("difference", kind="stable")
    for label, row in ordered.iterrows():
        interval = "–" if np.isnan(row["low"]) else f"{value(row['low'], signed=True)} to {value(row['high'], signed=True)}"
        numbers = [value(row["a"]), value(row["b"]), value(row["difference"], signed=True), interval, p_text(row["p_holm"])]
        rows.append((str(label), [Cell(text) for text in (*numbers, f"{row['p_equivalent']:.2f}", row["verdict"])]))
    columns = ["A", "B", "B - A", "95 % interval", "p (Holm)", "P(equivalent)", "verdict"]
    caption = (
        "Mean accuracy in percent over the datasets and settings that both hold. Verdict: exact Wilcoxon over datasets with Holm "
        f"at 5 %; else equivalence within {found.margin:g} points with probability .95; else undecided."
    )
    return Table("compare", "Comparison of A and B", caption, columns, rows, ordered)
