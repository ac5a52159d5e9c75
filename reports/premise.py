"""What a comparison of noise-robust methods should be asked: do they keep what zero-shot had, and learn what it lacks?

A method that hardly moves looks robust wherever the model was right at the start. So both are said of every method, apart for the
datasets in and out of the backbone's domain, and then whether the method under test is more than its nearest rivals.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from bench.errors import BenchError, nearest
from reports import bayes
from reports.analysis import ZERO_SHOT, Analysis, Source, analyse
from reports.choices import Choices, with_options
from reports.sentences import noise_range
from reports.wording import counted, p_equals, span, value

DOMAINS = {"in": "In domain", "out": "Out of domain"}


def answers(results: Source, method: str, rivals: Sequence[str], **options: Any) -> list[str]:
    """A sentence or two per question, each from the numbers by one rule.

    >>> some = {"method": ["dspt", "mae", "zero_shot"], "domain": ["in"]}
    >>> keeps, learns, more = answers("results/reference", "dspt", ["mae"], where=some)
    >>> more.partition(":")[0]
    'In domain, under symmetric noise of 25 to 75 %, against DSPT (equivalent'

    Args:
        results: A path, what `load` gives, or its frame.
        method: The registered name of the method under test.
        rivals: Names of the methods to hold it against.
        **options: Further fields of `Choices`, such as `where`.

    Raises:
        BenchError: As `analyse`; a rival is not there, nothing says which datasets are in domain, or none was run on clean labels.
    """
    choices = with_options(Choices(group="domain"), options)
    against_zero_shot, against_method = (analyse(results, replace(choices, control=control)) for control in (ZERO_SHOT, method))
    labels = _labels(against_method, replace(choices, methods=rivals).methods)
    if against_zero_shot.clean is None:
        raise BenchError("there is no run on clean labels, which is what is learned.", "Run the grid at noise rate 0 as well.")
    if not set(DOMAINS) & set(against_zero_shot.groups):
        raise BenchError("no dataset here is said to be in or out of domain.", "`bench.results` has it in the column domain.")
    groups = {name: part for name, part in against_zero_shot.groups.items() if name in DOMAINS}
    said = [keeps(part, name) for name, part in groups.items()]
    said += [learns(part, name) for name, part in groups.items()]
    return said + [more_than(part, name, labels) for name, part in against_method.groups.items() if name in DOMAINS]


def _labels(analysis: Analysis, rivals: Sequence[str]) -> list[str]:
    """All labels of the rivals' methods, but the control's.

    Raises:
        BenchError: A method was not run, or none is left.
    """
    rows = analysis.rows.loc[list(analysis.versus.index)]
    for name in rivals:
        if name not in set(rows["method"]):
            raise BenchError(
                f"rival '{name}' is not among the methods to hold against {analysis.control}.",
                nearest(name, rows["method"].unique()),
            )
    if not rivals:
        raise BenchError(f"there is no rival to hold against {analysis.control}.", "For instance ['gce', 'sce'].")
    return list(rows.index[rows["method"].isin(list(rivals))])


def _place(part: Analysis, domain: str) -> str:
    zero_shot = value(part.mean_zero_shot)
    return f"{DOMAINS[domain]} ({counted(len(part.datasets), 'task')}, zero-shot {zero_shot} %)"


def keeps(part: Analysis, domain: str) -> str:
    """Who keeps what zero-shot had under noise: the difference to it, and what its test says, worst first."""
    rows = part.versus.sort_values("difference")
    words = [f"{label} {value(row['difference'], signed=True)} ({_verdict(row)})" for label, row in rows.iterrows()]
    return f"{_place(part, domain)}, {noise_range(part)}, points above or below zero-shot: {', '.join(words)}."


def _verdict(row: pd.Series) -> str:
    """The Wilcoxon test's claim where there is one, else that of the posterior, else that neither decides."""
    if row["claim"] in ("better", "worse"):
        return p_equals(row["p_holm"])
    found = bayes.verdict(bayes.Posterior(row["p_worse"], row["p_equivalent"], row["p_better"]))
    return f"P({found}) = {row[f'p_{found}']:.2f}" if found != "undecided" else "undecided"


def learns(part: Analysis, domain: str) -> str:
    """What clean labels give over zero-shot, most first."""
    assert part.clean is not None
    gains = part.clean.sub(part.zero_shot, axis=0).mean(skipna=False).loc[list(part.versus.index)].sort_values(ascending=False)
    words = [f"{label} {value(float(gain), signed=True)}" for label, gain in gains.items()]
    return f"{_place(part, domain)}, clean labels, points above zero-shot: {', '.join(words)}."


def more_than(part: Analysis, domain: str, labels: Sequence[str]) -> str:
    """The rivals against the method under test: difference, interval, test and P(equivalent)."""
    words = []
    for label, row in part.versus.loc[[label for label in part.versus.index if label in labels]].iterrows():
        odds = f"P(equivalent) = {value(row['p_equivalent'], digits=2)}"
        ends = span(row["low"], row["high"])
        words.append(f"{label} {value(row['difference'], signed=True)} ({ends}, {p_equals(row['p_holm'])}, {odds})")
    margin = f"{part.choices.margin:g} points"
    return f"{DOMAINS[domain]}, {noise_range(part)}, against {part.control} (equivalent: within {margin}): {'; '.join(words)}."
