"""Two result sets against each other: yours against the reference, before against after a change."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from bench.errors import BenchError
from reports import bayes, cells, labels, statistics
from reports.analysis import Source, frame_of
from reports.choices import Choices
from reports.tables import Entry, Table
from reports.wording import MISSING, counted, p_text, span, value

Verdict = Literal["better", "worse", "equivalent", "disagree", "undecided"]
SPECIFICATION = ("params", "train", "shots", "views", "backbone", "task", "method_version", "engine_version", "features")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What differs between two result sets A and B.

    `methods` has per label: a, b, difference (b - a), low, high, p, p_holm, p_worse, p_equivalent, p_better, datasets, verdict.
    """

    methods: pd.DataFrame
    changes: list[str]  # what changed in the specification
    notes: list[str]
    margin: float

    @property
    def worse(self) -> list[str]:
        """The labels that got significantly and practically worse."""
        return [str(label) for label in self.methods.index[self.methods["verdict"] == "worse"]]

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        return comparison_table(self)._repr_html_()


def compare(a: Source, b: Source, margin: float = 0.5, where: dict[str, list[str]] | None = None) -> Comparison:
    """Method by method, B minus A over the cells that both have.

    A verdict is "equivalent" when the probability of lying within `margin` points is at least .95; else "better" or "worse" when
    the mean differs by more than the margin, its Holm-adjusted p (`statistics.difference_p`) is at most 5 %, and mean and ranks
    agree in sign, or "disagree" when they do not; else "undecided". Below six datasets there is no verdict. Runs match by method,
    hyper-parameters and, where one side holds several, training protocol.

    >>> compare("results/reference", "results/starts", where={"method": ["dspt"]}).methods["verdict"].tolist()
    ['equivalent']

    Args:
        a: The reference, or before: a path, loaded results or their frame.
        b: Yours, or after.
        margin: Points.
        where: Column -> the values to keep.

    Raises:
        BenchError: No cell is in both, or one of the two cannot be compared within itself.
    """
    chosen = Choices(margin=margin, where=where or {}).where
    frames = [cells.where(frame_of(one), chosen).assign(side=side) for side, one in (("A", a), ("B", b))]
    runs = labels.labelled(pd.concat(frames, ignore_index=True))
    first, second = (cells.comparable(runs[runs["side"] == side]) for side in ("A", "B"))
    first, second = (side.assign(**{name: cells.paired(side, name) for name in cells.PAIRED}) for side in (first, second))
    both = first.merge(second, on=cells.CELL, suffixes=("_a", "_b"))
    if both.empty:
        raise BenchError(
            "the two result sets have no cell in common (method × dataset × noise × rate × seed).",
            "`bench status` shows what each holds.",
        )
    methods = _tests(both, margin)
    most = int(methods["datasets"].max())
    notes = [f"{counted(len(both), 'cell')} in both; {len(first) - len(both)} only in A, {len(second) - len(both)} only in B"]
    broken = runs[runs["status"] == "failed"]
    if len(broken):
        notes.append(
            f"{counted(len(broken), 'failed run')} left out, for instance {broken['run_id'].iloc[0]}: {broken['error'].iloc[0]}"
        )
    if statistics.smallest_p(most) * len(methods) > statistics.ALPHA:
        notes.append(statistics.attainable(most, len(methods)).rstrip("."))
    return Comparison(methods, changes(both), notes, margin)


def _tests(both: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Every method's seeds and settings as one difference per dataset (and seed, where all datasets have the same)."""
    rows = []
    for label, group in both.groupby("label", sort=True):
        table = group.pivot_table(index="dataset", columns="seed", values=["accuracy_a", "accuracy_b"])
        if table.isna().any().any():  # datasets with other seeds: what seeds share is unknown
            table = table.T.groupby(level=0).mean().T
        means, cubes = statistics.seed_means(table), statistics.cubes(table)
        d = (means["accuracy_b"] - means["accuracy_a"]).to_numpy(dtype=float)
        low, high = statistics.mean_interval(d)
        chances = bayes.against(pd.DataFrame({"a": np.zeros(len(d)), "b": d}), "a", margin).iloc[0]
        rows.append({
            "label": str(label), "a": float(means["accuracy_a"].mean()), "b": float(means["accuracy_b"].mean()),
            "difference": float(d.mean()), "low": low, "high": high,
            "p": statistics.difference_p(cubes["accuracy_b"], cubes["accuracy_a"], statistics.shared_seeds(cubes)), **chances,
            "datasets": len(d), "d": d,
        })  # fmt: skip
    methods = pd.DataFrame(rows).set_index("label")
    methods.insert(5, "p_holm", statistics.holm(methods["p"].to_numpy(dtype=float)))
    methods["ranks_p"] = statistics.holm(np.array([statistics.wilcoxon(d) for d in methods["d"]]))
    methods["verdict"] = [_verdict(row, margin) for _, row in methods.iterrows()]
    return methods.drop(columns=["d", "ranks_p"])


def _verdict(row: "pd.Series", margin: float) -> Verdict:
    if row["p_equivalent"] >= bayes.SURE:
        return "equivalent"
    claim = statistics.claim(row["p_holm"], row["ranks_p"], row["d"])
    return claim if claim == "disagree" or abs(row["difference"]) > margin else "undecided"


def changes(both: pd.DataFrame) -> list[str]:
    """What differs in the specification and the data of equal cells: a line per column, and how many cells it concerns."""
    found = []
    for column in SPECIFICATION:
        left, right = both[f"{column}_a"], both[f"{column}_b"]
        differs = (left != right) & ~(left.isna() & right.isna())
        if not differs.any():
            continue
        pairs = Counter(zip(left[differs].astype(str), right[differs].astype(str), strict=True))
        found += [
            f"{column}: {_difference(column, old, new)} ({counted(count, 'cell')})" for (old, new), count in pairs.most_common(3)
        ]
        found += [f"{column}: {counted(len(pairs) - 3, 'further difference')}"] if len(pairs) > 3 else []
    for column, what in cells.PAIRED.items():
        left, right = both[f"{column}_a"], both[f"{column}_b"]
        differs = (left != right) & left.notna() & right.notna()
        found += [f"{column}: {what} ({counted(int(differs.sum()), 'cell')})"] if differs.any() else []
    return found


def _difference(column: str, old: str, new: str) -> str:
    if column not in ("params", "train"):
        return f"{old} → {new}"
    before, after = map(labels.protocol if column == "train" else json.loads, (old, new))
    keys = sorted(labels.differing([before, after]))
    return ", ".join(f"{key} {labels.text(before.get(key))} → {labels.text(after.get(key))}" for key in keys)


def comparison_table(found: Comparison) -> Table:
    """The comparison as a table, largest loss first."""
    rows = []
    ordered = found.methods.sort_values("difference", kind="stable")
    for label, row in ordered.iterrows():
        numbers = [value(row["a"]), value(row["b"]), value(row["difference"], signed=True), span(row["low"], row["high"])]
        chance = MISSING if np.isnan(row["p_equivalent"]) else f"{row['p_equivalent']:.2f}"
        rows.append((str(label), [Entry(text) for text in (*numbers, p_text(row["p_holm"]), chance, row["verdict"])]))
    columns = ["A", "B", "B - A", "95 % interval", "p (Holm)", "P(equivalent)", "verdict"]
    caption = (
        "Mean accuracy in percent over the datasets and settings that both hold. Verdict: equivalence within "
        f"{found.margin:g} points with probability .95; else a mean difference beyond them that is significant (Holm, 5 %) and "
        f"that the "
        "ranks confirm; else undecided."
    )
    return Table("compare", "Comparison of A and B", caption, columns, rows, ordered)
