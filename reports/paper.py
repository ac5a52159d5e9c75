"""The table that papers of this field print: methods by noise rates, a block per dataset, and a block of averages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from bench.errors import BenchError, nearest
from reports import cells, choices, statistics
from reports.analysis import Analysis
from reports.tables import ORACLE_NOTE, TIED, UNIDENTIFIABLE, UNIDENTIFIABLE_NOTE, Entry, Table
from reports.wording import counted, value

Spread = Literal["std", "se", "interval", "none"]
AVERAGE = ""  # in the place of a dataset, as none is called that
SAID = {
    "std": " ± standard deviation over seeds",
    "se": " ± standard error over seeds",
    "interval": " ± half of the 95 % interval over seeds (Student's t)",
    "none": "",
}


@dataclass(frozen=True)
class Layout:
    """What the table shows. `Choices.methods` gives the rows and their order."""

    datasets: Sequence[str] = ()  # in this order; () is all
    rates: Sequence[float] = ()  # of the noise, in this order; () is all
    digits: int = 1
    spread: Spread = "std"
    text_width: float = 345.0  # points: of the lines of text that a table across all columns must fit

    def __post_init__(self) -> None:
        choices.names("--datasets", self.datasets)
        if isinstance(self.rates, str) or not isinstance(self.rates, Sequence):
            raise BenchError(f"--rates needs a list of numbers, not {self.rates!r}.", "For instance [0, 0.25, 0.5].")
        for rate in self.rates:
            choices.number("--rates", rate, 0, 1, "a share from 0 to 1")
        choices.one_of("--spread", self.spread, get_args(Spread))
        choices.number("--digits", self.digits, 0, 4, "a whole number from 0 to 4", int)
        widths = "NeurIPS 397, CVPR 496, article 345."
        choices.number("--text-width", self.text_width, 200, 1000, "between 200 and 1000 points", hint=widths)


def _spread(groups: Any, kind: Spread) -> dict[Any, float]:
    """What stands behind ±, from the values of the seeds of every (label, dataset, rate)."""
    if kind == "none":
        return {}
    std, n = groups.std(), groups.size()
    reach = pd.Series(statistics.t_reach(np.maximum(n, 2)), n.index) if kind == "interval" else 1.0
    return dict((std if kind == "std" else reach * std / np.sqrt(n)).to_dict())


def tables(analysis: Analysis, layout: Layout) -> list[Table]:
    """The table of every noise protocol; none where everything is clean.

    Raises:
        BenchError: A dataset or rate of the layout was not run.
    """
    return [_table(analysis, layout, protocol) for protocol in cells.protocols(analysis.runs)]


def _chosen(option: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    for name in wanted:
        if name not in known:
            raise BenchError(f"{option}: '{name}' is not in these results.", nearest(name, known))
    return list(dict.fromkeys(wanted or known))


def _table(analysis: Analysis, layout: Layout, protocol: str) -> Table:
    runs = cells.of_protocol(analysis.runs, protocol)
    datasets = _chosen("--datasets", layout.datasets, analysis.datasets)
    known = {f"{rate:g}": float(rate) for rate in sorted(runs["rate"].unique())}
    wanted = list(dict.fromkeys(f"{rate:g}" for rate in layout.rates))
    rates = [known[text] for text in (wanted if wanted and set(wanted) <= set(known) else _chosen("--rates", wanted, list(known)))]
    runs = runs[runs["dataset"].isin(datasets) & runs["rate"].isin(rates)]
    averages = runs.groupby(["label", "rate", "seed", "trained"], as_index=False)["accuracy"].mean().assign(dataset=AVERAGE)
    columns = ["label", "dataset", "rate", "seed", "trained", "accuracy"]
    both = pd.concat([runs[columns], averages[columns]])
    keys = ["label", "dataset", "rate"]
    mean = both.groupby(keys)["accuracy"].mean().unstack(keys[1:])  # noqa: PD010 - nothing is aggregated
    spread = _spread(both[both["trained"]].groupby(keys)["accuracy"], layout.spread)
    pairs = [(dataset, rate) for dataset in [*datasets, AVERAGE] for rate in rates]
    hidden = set(map(tuple, runs.loc[~runs["identifiable"], ["dataset", "rate"]].drop_duplicates().itertuples(index=False)))
    competing = [label for label in analysis.shown if label in analysis.ranked]
    number = mean.to_dict()
    marks = {pair: _marks(sorted(competing, key=lambda label: -number[pair][label]), runs, pair) for pair in pairs}

    def entry(label: str, pair: tuple[str, float]) -> Entry:
        best, second = marks[pair]
        text = value(float(number[pair][label]), spread.get((label, *pair), np.nan), digits=layout.digits)
        return Entry(text, "best" if label == best else "tied" if label == second else "")

    rows = [(label, [entry(label, pair) for pair in pairs]) for label in analysis.shown]
    names = [f"{100 * rate:g}" + UNIDENTIFIABLE * ((dataset, rate) in hidden) for dataset, rate in pairs]
    remarks = f" {ORACLE_NOTE}" * bool(analysis.oracles) + f" {UNIDENTIFIABLE_NOTE}" * bool(hidden)
    caption = (
        f"Accuracy in percent under {protocol} noise (columns: its rate in percent) on {counted(len(datasets), 'dataset')} and "
        f"on average, mean "
        f"over seeds{SAID[layout.spread]}. Bold: highest mean; {TIED}: second highest; no average is marked where the ranks over "
        f"datasets "
        f"contradict it.{remarks}"
    )
    titles = {name: name for name in datasets} | {AVERAGE: "average" if "average" not in datasets else "average of datasets"}
    numbers = pd.DataFrame({f"{titles[dataset]} {rate:g}": mean[dataset, rate] for dataset, rate in pairs}).reindex(analysis.shown)
    above = [titles[dataset].replace("_", " ") for dataset, _ in pairs]
    return Table(
        f"paper_{protocol}", f"Methods by rates of {protocol} noise", caption, names, rows, numbers.rename_axis("method"), above
    )


def _marks(order: list[str], runs: pd.DataFrame, pair: tuple[str, float]) -> tuple[str, str]:
    """The first and the second of the labels in the order of their means; nobody where mean and ranks disagree about an average."""
    if pair[0] == AVERAGE and not statistics.marked(cells.by_seed(runs[runs["rate"] == pair[1]], order))[0]:
        return "", ""
    return order[0], order[1] if len(order) > 1 else ""
