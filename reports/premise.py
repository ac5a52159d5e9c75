"""What a comparison of noise-robust methods should be asked: do they keep what zero-shot had, and learn what it lacks?

A method that hardly moves looks robust wherever the model was right at the start. So both are said of every method, apart for the
datasets in and out of the backbone's domain, and then whether the method under test is more than its nearest rivals.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reports import bayes
from reports.analysis import Analysis, Choices, Source, analyse
from reports.sentences import noise_range
from reports.wording import counted, p_equals, value

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
        rivals: Those of the methods to hold it against.
        **options: Further fields of `Choices`, such as `where`.

    Raises:
        BenchError: As `analyse`.
    """
    against_zero_shot = analyse(results, Choices(control="zero_shot", group="domain", **options))
    against_method = analyse(results, Choices(control=method, group="domain", **options))
    groups = {name: part for name, part in against_zero_shot.groups.items() if name in DOMAINS}
    said = [keeps(part, name) for name, part in groups.items()]
    said += [learns(part, name) for name, part in groups.items()]
    return said + [more_than(part, name, rivals) for name, part in against_method.groups.items() if name in DOMAINS]


def _place(part: Analysis, domain: str) -> str:
    zero_shot = value(float(part.zero_shot.mean()))
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
    assert part.clean is not None, "runs on clean labels are what this question is about"
    gains = part.clean.sub(part.zero_shot, axis=0).mean().loc[list(part.versus.index)].sort_values(ascending=False)
    words = [f"{label} {value(float(gain), signed=True)}" for label, gain in gains.items()]
    return f"{_place(part, domain)}, clean labels, points above zero-shot: {', '.join(words)}."


def more_than(part: Analysis, domain: str, rivals: Sequence[str]) -> str:
    """The rivals against the method under test: difference, interval, test and P(equivalent)."""
    known = part.runs[["label", "method"]].drop_duplicates()
    labels = [label for label in part.versus.index if set(known.loc[known["label"] == label, "method"]) & set(rivals)]
    words = []
    for label in labels:
        row = part.versus.T[label]
        ends = f"{value(row['low'], signed=True)} to {value(row['high'], signed=True)}"
        odds = f"P(equivalent) = {row['p_equivalent']:.2f}"
        words.append(f"{label} {value(row['difference'], signed=True)} ({ends}, {p_equals(row['p_holm'])}, {odds})")
    margin = f"{part.choices.margin:g} points"
    return f"{DOMAINS[domain]}, {noise_range(part)}, against {part.control} (equivalent: within {margin}): {'; '.join(words)}."
