"""One pass over a frame: everything the tables, figures and sentences of a report are made of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from bench.errors import BenchError, nearest
from bench.results.frame import COLUMNS, Results, load
from reports import bayes, cells, labels, statistics
from reports.choices import CONTROL, Choices, with_options
from reports.completeness import complete
from reports.selection import select
from reports.wording import counted, listed

ZERO_SHOT = "zero_shot"  # a registered name
Source = str | Path | Results | pd.DataFrame


@dataclass(frozen=True, eq=False)
class Analysis:
    """Complete cells and what follows from them. Scores are percent, [datasets × labels]."""

    choices: Choices
    runs: pd.DataFrame  # complete and spread (`reports.cells`)
    every: pd.DataFrame  # the same before anything incomplete was left out
    protocol: str
    control: str  # "" where there is none
    ranked: list[str]  # labels that may compete, best first
    labels: list[str]  # all labels: the ranked ones, then the oracles
    scores: pd.DataFrame  # primary score: accuracy averaged over seeds and the noisy, identifiable rates of the protocol
    clean: pd.DataFrame | None  # accuracy at rate 0; None where it was not run
    versus: pd.DataFrame  # tests, effects, intervals and posteriors of the ranked labels; empty without a control
    notes: list[str]
    mixed: list[str] = field(default_factory=list)  # those of the notes that say in what methods' training differs
    groups: Mapping[str, "Analysis"] = field(default_factory=dict)  # of the values of `choices.group`

    @property
    def datasets(self) -> list[str]:
        """The datasets that count."""
        return list(self.scores.index)

    @cached_property
    def zero_shot(self) -> pd.Series:
        """Zero-shot accuracy per dataset, percent; it is a column of every run, so it needs no run of its own."""
        return self.runs.groupby("dataset")["zero_shot"].first()

    @property
    def mean_zero_shot(self) -> float:
        """Its mean over the datasets that count; NaN where it is unknown on one of them."""
        return float(self.zero_shot.mean(skipna=False))

    @cached_property
    def rows(self) -> pd.DataFrame:
        """What is known of every label of `every`: key, method, trained, oracle."""
        return self.every.drop_duplicates("label").set_index("label")[["key", "method", "trained", "oracle"]]

    @cached_property
    def untuned(self) -> str:
        """The label of zero-shot; "" where it was not run."""
        rows = self.rows
        return next((str(label) for label in self.labels if rows["method"][label] == ZERO_SHOT), "")

    @cached_property
    def trained(self) -> list[str]:
        """The labels that train something, in the order to show."""
        return [label for label in self.shown if self.rows["trained"][label]]

    @cached_property
    def oracles(self) -> set[str]:
        """The labels that were told what nobody knows in practice."""
        return set(self.rows.index[self.rows["oracle"].notna()])

    @cached_property
    def shown(self) -> list[str]:
        """All labels in the order to show: the user's, or the ranking's."""
        wanted = [label for name in self.choices.methods for label in labels.matching(self.rows.reset_index(), name, "--methods")]
        return [label for label in dict.fromkeys(wanted) if label in self.labels] or self.labels

    def _repr_html_(self) -> str:
        """The scores, for notebooks."""
        return str(self.scores.to_html(float_format="{:.1f}".format))


def frame_of(results: Source) -> pd.DataFrame:
    """The tidy frame of a path, of loaded results, or a frame itself.

    Raises:
        BenchError: It is none of these, or lacks columns of a frame of results.
    """
    if isinstance(results, str | Path):
        results = load(results)
    frame = results.frame if isinstance(results, Results) else results
    if not isinstance(frame, pd.DataFrame):
        raise BenchError(f"results cannot be of type {type(frame).__name__}.", "Give a path, what `load` gives, or its frame.")
    if lacking := [column for column in COLUMNS if column not in frame]:
        raise BenchError(f"the frame lacks the columns {listed(lacking)}.", "Give what `load(path).frame` holds.")
    frame = frame.reset_index(drop=True)  # rows of several frames may carry the same numbers
    texts = [column for column, kind in frame.dtypes.items() if isinstance(kind, pd.CategoricalDtype | pd.StringDtype)]
    numbers = {column: pd.to_numeric(frame[column], errors="coerce") for column in ("accuracy", "zero_shot", "rate")}
    for column, found in numbers.items():
        if (found.isna() & frame[column].notna()).any():
            raise BenchError(f"the frame's column '{column}' holds what is not a number.", "Give what `load(path).frame` holds.")
    for column in ("params", "train"):
        for text in frame[column].unique():
            try:
                json.loads(text)
            except (TypeError, ValueError):
                problem = f"the frame's column '{column}' holds what is not JSON: {text!r}."
                raise BenchError(problem, "Give what `load(path).frame` holds.") from None
    return frame.astype(dict.fromkeys(texts, object)).assign(**numbers)  # rows of Arrow's texts take long to choose


def _protocol(runs: pd.DataFrame, wanted: str) -> str:
    found = cells.protocols(runs)
    if wanted and wanted not in found:
        raise BenchError(f"no runs under noise protocol '{wanted}'.", nearest(wanted, found) if found else "All are clean.")
    return wanted or (found[0] if found else "clean")


def _control(rows: pd.DataFrame, ranked: list[str], wanted: str) -> tuple[str, list[str]]:
    """The label of the control, or "" and a note that says why there is none.

    Args:
        rows: label, key, method of all rows.
        ranked: The labels that compete.
        wanted: What the user wrote, or the default.

    Raises:
        BenchError: One was asked for that is not there, is an oracle, or has several rows.
    """
    default, choose = wanted == CONTROL, "--control names another"
    if default and wanted not in {*rows["label"], *rows["key"], *rows["method"]}:
        return "", [f"'{wanted}' was not run, so there are no tests against a control ({choose})"]
    found = labels.matching(rows, wanted, "--control")
    competing = [label for label in found if label in ranked]
    if len(competing) == 1:
        return competing[0], []
    problem = (
        f"control '{wanted}' is an oracle, which competes with nobody" if not competing else f"control '{wanted}' has several rows"
    )
    hint = "Let it compete with --with-oracles." if not competing else f"Choose one: {', '.join(competing)}."
    if not default:
        raise BenchError(f"{problem}.", hint)
    return "", [f"{problem}, so there are no tests against a control ({', '.join(competing) or choose})"]


def analyse(results: Source, choices: Choices | None = None) -> Analysis:
    """Everything a report says.

    >>> found = analyse("results/reference", Choices(control="dspt", where={"method": ["dspt", "mae", "coop_ce"]}))
    >>> len(found.datasets), found.versus.loc["CoOp", "claim"]
    (36, 'worse')

    Args:
        results: A path, what `bench.results.load` gives, or its frame.
        choices: What to compare, and how.

    Raises:
        BenchError: What is there cannot be compared, or is incomplete (exit code 4).
    """
    choices = with_options(choices, {})
    frame = cells.where(frame_of(results), choices.where)
    if choices.select:
        frame = select(frame, choices.select, partial=bool(choices.allow_missing))
    runs = labels.labelled(frame, choices.names)
    if choices.methods:
        names = [*choices.methods, *([ZERO_SHOT] if ZERO_SHOT in set(runs["method"]) else [])]
        runs = runs[runs["label"].isin([label for name in names for label in labels.matching(runs, name, "--methods")])]
    failed = runs[runs["status"] == "failed"]
    done = cells.comparable(runs)
    every = cells.spread(done)
    kept, notes = complete(every, choices.allow_missing, failed)
    mixed = labels.one_protocol(kept, choices.mixed)
    notes = [*mixed, *notes, *_failures(failed), *_selected(kept, choices)]
    whole = replace(conclude(choices, kept, every, notes), mixed=mixed)
    if not choices.group:
        return whole
    groups = {name: conclude(choices, part, every, []) for name, part in _parts(kept, choices.group)}
    return replace(whole, groups=groups)


def _parts(runs: pd.DataFrame, column: str) -> list[tuple[str, pd.DataFrame]]:
    """The runs by the value that their dataset has in a column.

    Raises:
        BenchError: No such column, or a dataset has several values in it.
    """
    if column not in runs:
        raise BenchError(f"--group: results have no column '{column}'.", nearest(column, runs.columns))
    values = runs[column].astype(object).where(runs[column].notna(), "none").astype(str)
    several = values.groupby(runs["dataset"]).nunique()
    if (several > 1).any():
        raise BenchError(
            f"--group {column}: dataset '{several.idxmax()}' has several values.", "Group by a column of the datasets' cards."
        )
    return [(str(name), part) for name, part in runs.groupby(values)]


def conclude(choices: Choices, runs: pd.DataFrame, every: pd.DataFrame, notes: list[str]) -> Analysis:
    """Ranking, tests and effects of complete cells."""
    protocol = _protocol(runs, choices.noise)
    points = cells.by_seed(cells.scored(runs, protocol), sorted(runs["label"].unique()))
    scores = statistics.seed_means(points)
    order = list(scores.mean().sort_values(ascending=False, kind="stable").index)
    oracles = set(runs.loc[runs["oracle"].notna(), "label"])
    ranked = [label for label in order if choices.with_oracles or label not in oracles]
    if not ranked:
        raise BenchError("all methods here are oracles, which are kept out of rankings.", "Rank them with --with-oracles.")
    control, missing = _control(runs[["label", "key", "method"]].drop_duplicates(), ranked, choices.control)
    versus = pd.DataFrame()
    if control:
        tests = statistics.against_control(points[ranked], control, choices.margin)
        versus = tests.join(bayes.against(scores[ranked], control, choices.margin))
    clean = runs[runs["rate"] == 0]
    return Analysis(
        choices, runs, every, protocol, control, ranked, [*ranked, *(name for name in order if name not in ranked)], scores,
        cells.wide(clean) if len(clean) else None, versus, [*notes, *missing, *_notes(runs, protocol)],
    )  # fmt: skip


def _selected(runs: pd.DataFrame, choices: Choices) -> list[str]:
    """What was chosen on validation, where there was a choice."""
    rates = [labels.protocol(train)["lr"] for train in runs.loc[runs["epochs"] > 0, "train"].unique()]
    if not (choices.select and any(isinstance(rate, list) for rate in rates)):
        return []
    noisy = "validation shots with the same noise"
    kind = noisy if choices.select == "noisy_val" else "clean validation, which makes every row an oracle"
    return [f"learning rate chosen per method, dataset, noise setting and seed on {kind}"]


def _failures(failed: pd.DataFrame) -> list[str]:
    if failed.empty:
        return []
    first = failed.iloc[0]
    return [f"{counted(len(failed), 'run')} failed, for instance {first['label']} on {first['dataset']}: {first['error']}"]


def _notes(runs: pd.DataFrame, protocol: str) -> list[str]:
    notes = []
    counted_rows = cells.scored(runs, protocol)
    for where, rows in (
        ("no part of the score", runs.drop(counted_rows.index)),
        ("the score counts it, as all is so", counted_rows),
    ):
        hidden = rows[~rows["identifiable"]][["noise", "rate"]].drop_duplicates()
        if len(hidden):
            shown = listed([cells.setting_name(noise, rate) for noise, rate in hidden.itertuples(index=False)])
            notes.append(f"at {shown} the true class is not the most likely label on some datasets: {where} there")
    unknown = runs.groupby("dataset")["zero_shot"].first().isna()
    if unknown.any():
        names = listed(list(unknown.index[unknown]))
        notes.append(f"zero-shot accuracy is unknown on {names}, so means of it and of gains over it are left out")
    for column in ("method_version", "engine_version"):
        found = runs.groupby("label")[column].nunique()
        if (found > 1).any():
            notes.append(f"{', '.join(found[found > 1].index)}: cells of several values of {column}; rerun the older ones")
    if protocol == "clean":
        notes.append("all runs are clean: the score is the clean accuracy")
    return notes
