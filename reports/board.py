"""The leaderboard: one row per method, one object per column."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import BenchError, nearest
from reports import cells
from reports.analysis import Analysis, Source, analyse
from reports.choices import Choices, with_options
from reports.tables import Entry, Table, remarks, score_rule
from reports.wording import MISSING, counted, p_text, span, value


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard: its name, the numbers it shows (the first is what it sorts by), their text, and its caption."""

    name: str
    fields: tuple[str, ...]  # columns of `leaderboard_numbers`
    text: Callable[[Any], str]  # of a row of them
    caption: str = ""


def _signed(name: str) -> Callable[[Any], str]:
    return lambda row: value(row[name], signed=True)


def _plain(name: str, digits: int = 1) -> Callable[[Any], str]:
    return lambda row: value(row[name], digits=digits)


LEADERBOARD = (
    Column("rank", ("rank",), _plain("rank", 0)),
    Column("score", ("score",), _plain("score"), "{score}"),
    Column("clean", ("clean",), _plain("clean")),
    Column("gain over zero-shot", ("gain_over_zero_shot",), _signed("gain_over_zero_shot")),
    Column("difference", ("difference",), _signed("difference"),
           "Differences, tests and wins (by more than {margin} points) are against {control}."),
    Column("95 % interval", ("low", "high"), lambda row: span(row["low"], row["high"]),
           "Interval: over datasets, the wider of t and bootstrap-t."),
    Column("p (Holm)", ("p_holm",), lambda row: p_text(row["p_holm"])),
    Column("wins/ties/losses", ("wins", "ties", "losses"),
           lambda row: MISSING if np.isnan(row["wins"]) else f"{row['wins']:.0f}/{row['ties']:.0f}/{row['losses']:.0f}"),
    Column("rank-biserial", ("rank_biserial",), lambda row: value(row["rank_biserial"], signed=True, digits=2)),
    Column("P(worse)", ("p_worse",), _plain("p_worse", 2)),
    Column("P(equivalent)", ("p_equivalent",), _plain("p_equivalent", 2),
           "P: Bayesian signed-rank test of each pair by itself, unadjusted; equivalence within {margin} points."),
    Column("P(better)", ("p_better",), _plain("p_better", 2)),
    Column("start", ("start",), _plain("start"), "Start: accuracy before the first step."),
    Column("kept", ("zero_shot_agreement",), _plain("zero_shot_agreement"),
           "Kept: share of test predictions equal to zero-shot's, percent."),
    Column("steps", ("steps",), _plain("steps", 0)),
    Column("seconds", ("wall_seconds",), _plain("wall_seconds"), "Steps and seconds: of a run, median."),
)  # fmt: skip


def leaderboard(results: Source, choices: Choices | None = None, **options: Any) -> pd.DataFrame:
    """The leaderboard as a frame, one row per method, best first; for notebooks.

    >>> inside = {"domain": ["in"], "method": ["dspt", "coop_ce", "zero_shot"]}
    >>> board = leaderboard("results/reference", control="dspt", where=inside)
    >>> board.loc["CoOp", "claim"]
    'worse'

    Args:
        results: A path, what `load` gives, or its frame.
        choices: Control, noise protocol, margin and so on.
        **options: Fields of `Choices`, as the command line has options.

    Raises:
        BenchError: As `reports.analysis.analyse`, or an unknown option.
    """
    return leaderboard_numbers(analyse(results, with_options(choices, options)))


def checked_columns(text: str) -> tuple[str, ...]:
    """The leaderboard's columns from a comma-separated list; "" is all.

    Raises:
        BenchError: One is unknown.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    known = [column.name for column in LEADERBOARD]
    for name in names:
        if name not in known:
            raise BenchError(f"the leaderboard has no column '{name}'.", nearest(name, known))
    return names


def _columns(numbers: pd.DataFrame, names: Sequence[str]) -> list[Column]:
    """The columns to show: those asked for, else all that have a number."""
    if names:
        return [column for name in names for column in LEADERBOARD if column.name == name]
    return [column for column in LEADERBOARD if numbers[column.fields[0]].notna().any()]


def leaderboard_table(analysis: Analysis, names: Sequence[str] = ()) -> Table:
    """The ranking with effects and tests against the control."""
    numbers = leaderboard_numbers(analysis)
    columns = _columns(numbers, names)
    rows = [(str(label), [Entry(column.text(row)) for column in columns]) for label, row in numbers.iterrows()]
    facts = {"score": score_rule(analysis), "margin": f"{analysis.choices.margin:g}", "control": analysis.control}
    said = [column.caption.format(**facts) for column in columns if numbers[column.fields[0]].notna().any()]
    mean = f"Means over {counted(len(analysis.datasets), 'dataset')}, percent."
    caption = " ".join([mean, *filter(None, said)]) + remarks(analysis)
    return Table("leaderboard", "Leaderboard", caption, [column.name for column in columns], rows, numbers)


def leaderboard_numbers(analysis: Analysis) -> pd.DataFrame:
    """The leaderboard as numbers, one row per label, best first; NaN where there is no number (tests of the control itself)."""
    labels, runs = analysis.labels, cells.scored(analysis.runs, analysis.protocol)
    frame = pd.DataFrame({"rank": pd.Series(range(1, len(analysis.ranked) + 1), analysis.ranked, dtype=float)}, labels)
    frame["score"] = analysis.scores.mean()
    frame["clean"] = np.nan if analysis.clean is None else analysis.clean.mean()
    frame["gain_over_zero_shot"] = analysis.scores.sub(analysis.zero_shot, axis=0).mean(skipna=False)
    trained = runs[runs["trained"]].groupby("label")
    averaged = trained[["start", "zero_shot_agreement"]].mean(skipna=False)  # a mean over some of the datasets compares with none
    measured = averaged.join(trained[["steps", "wall_seconds"]].median())
    frame = frame.join(analysis.versus).join(measured).reindex(labels)
    known = dict.fromkeys(name for column in LEADERBOARD for name in column.fields)
    return frame.reindex(columns=[*known, "p", "claim"]).rename_axis("method")
