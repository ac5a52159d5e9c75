"""One pass over a frame: everything the tables, figures and sentences of a report are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import pandas as pd

from bench.errors import BenchError, nearest
from reports import bayes, cells, statistics
from reports.completeness import AllowMissing, complete
from reports.selection import Selector, select

CONTROL = "coop_ce"
ZERO_SHOT = "zero_shot"


@dataclass(frozen=True)
class Choices:
    """What a user may choose. The defaults are fixed beforehand, so that nobody tunes them on the outcome."""

    control: str = CONTROL
    noise: str = ""  # the protocol that ranks; "" is symmetric, or the only one there is
    margin: float = 0.5  # points: the region of practical equivalence, and what a win on one dataset must exceed
    allow_missing: AllowMissing = ""
    select: Selector = ""
    with_oracles: bool = False
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)  # column -> the values to keep
    names: Mapping[str, str] = field(default_factory=dict)  # label -> name to show

    def __post_init__(self) -> None:
        for option, given, known in (
            ("--allow-missing", self.allow_missing, get_args(AllowMissing)),
            ("--select", self.select, get_args(Selector)),
        ):
            if given not in known:
                raise BenchError(f"{option} cannot be '{given}'.", nearest(given, filter(None, known)))
        if not self.margin >= 0:
            raise BenchError(f"--margin {self.margin} is not a number of points from 0 up.")


@dataclass(frozen=True, eq=False)
class Analysis:
    """Complete cells and what follows from them. Scores are percent, [datasets × labels]."""

    choices: Choices
    runs: pd.DataFrame  # complete and spread (`reports.cells`)
    every: pd.DataFrame  # the same before anything incomplete was left out
    protocol: str
    control: str  # "" where the control was not run
    ranked: list[str]  # labels that may compete, best first
    labels: list[str]  # all labels: the ranked ones, then the oracles
    scores: pd.DataFrame  # primary score
    clean: pd.DataFrame | None  # accuracy at rate 0; None where it was not run
    versus: pd.DataFrame  # tests, effects, intervals and posteriors of the ranked labels; empty without a control
    notes: list[str]

    @property
    def datasets(self) -> list[str]:
        """The datasets that count."""
        return list(self.scores.index)

    @property
    def zero_shot(self) -> pd.Series:
        """Zero-shot accuracy per dataset, percent."""
        return self.runs.groupby("dataset")["zero_shot"].first()


def _protocol(runs: pd.DataFrame, wanted: str) -> str:
    found = cells.protocols(runs)
    if wanted and wanted not in found:
        raise BenchError(f"no runs under noise protocol '{wanted}'.", nearest(wanted, found) if found else "All are clean.")
    return wanted or (found[0] if found else "clean")


def _control(labels: list[str], wanted: str) -> str:
    for name in (wanted, wanted + cells.ORACLE):
        if name in labels:
            return name
    if wanted == CONTROL:  # the default: a report without it has no tests against a control
        return ""
    raise BenchError(f"control '{wanted}' is not among the methods.", nearest(wanted, labels))


def prepare(frame: pd.DataFrame, choices: Choices) -> pd.DataFrame:
    """The frame after `--where`, `--select` and the user's names."""
    frame = cells.where(frame, choices.where)
    if choices.select:
        frame = select(frame, choices.select, partial=bool(choices.allow_missing))
    return frame.assign(label=frame["label"].replace(dict(choices.names)))


def analyse(frame: pd.DataFrame, choices: Choices | None = None) -> Analysis:
    """Everything a report says, from the tidy frame of `bench.results.load`.

    Args:
        frame: One row per run.
        choices: What to compare, and how.

    Raises:
        BenchError: What is there cannot be compared, or is incomplete (exit code 4).
    """
    choices = choices or Choices()
    choices = replace(choices, control=choices.names.get(choices.control, choices.control))
    chosen = prepare(frame, choices)
    every = cells.spread(cells.comparable(chosen))
    runs, notes = complete(every, choices.allow_missing, cells.failed(chosen))
    protocol = _protocol(runs, choices.noise)
    scores = cells.primary_scores(runs, protocol)
    order = list(scores.mean().sort_values(ascending=False, kind="stable").index)
    ranked = [label for label in order if choices.with_oracles or not label.endswith(cells.ORACLE)]
    if not ranked:
        raise BenchError("all methods are oracles, which compete with nobody.", "Let them compete with --with-oracles.")
    control = _control(ranked, choices.control)
    versus = _versus(scores[ranked], control, choices.margin) if control else pd.DataFrame()
    if not control:
        notes = [*notes, f"'{choices.control}' was not run, so there are no tests against a control (--control names another)"]
    clean = cells.scores_at(runs, protocol, 0.0) if (runs["rate"] == 0).any() else None
    return Analysis(
        choices, runs, every, protocol, control, ranked, [*ranked, *(name for name in order if name not in ranked)], scores, clean,
        versus, notes + _notes(chosen, runs, protocol) + _selected(choices),
    )  # fmt: skip


def _versus(scores: pd.DataFrame, control: str, margin: float) -> pd.DataFrame:
    tests = statistics.against_control(scores, control, margin)
    return tests.join(statistics.intervals(scores, control)).join(bayes.against(scores, control, margin))


def _selected(choices: Choices) -> list[str]:
    if not choices.select:
        return []
    kind = (
        "validation shots with the same noise"
        if choices.select == "noisy_val"
        else "clean validation, which makes every row an oracle"
    )
    return [f"learning rate chosen per method, dataset, noise setting and seed on {kind}"]


def _notes(frame: pd.DataFrame, runs: pd.DataFrame, protocol: str) -> list[str]:
    notes = []
    hidden = runs[~runs["identifiable"]][["noise", "rate"]].drop_duplicates()
    if len(hidden):
        shown = ", ".join(f"{noise} {rate:g}" for noise, rate in hidden.itertuples(index=False))
        notes.append(f"at {shown} the true class is not the most likely label on some datasets: no part of the score there")
    failed = frame[frame["status"] == "failed"]
    if len(failed):
        first = failed.iloc[0]
        notes.append(f"{len(failed)} runs failed, for instance {first['label']} on {first['dataset']}: {first['error']}")
    for column in ("method_version", "engine_version"):
        found = runs.groupby("label")[column].nunique()
        if (found > 1).any():
            notes.append(f"{', '.join(found[found > 1].index)}: cells of several values of {column}; rerun the older ones")
    if protocol == "clean":
        notes.append("all runs are clean: the score is the clean accuracy")
    return notes
