"""What the rows of a report are called: a method's title, its non-default hyper-parameters, and what else tells its runs apart."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import BenchError, nearest
from bench.spec import TrainSpec
from reports.wording import counted, listed

ORACLE = " †"  # shown behind the label of a method that was told what nobody knows in practice (column `oracle`)
ABSENT = TrainSpec().model_dump(mode="json")  # what a training key was in runs made before it existed
START = ("ctx_init", "ctx_words", "n_ctx")  # the training keys that say where a context begins


def labelled(frame: pd.DataFrame, names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The runs, finished or not, each with the label that it is shown under, and `key`: the same from registered names.

    Labels that were run under several training protocols (a learning-rate grid) or hyper-parameters become rows of their own:
    "GCE lr=0.01", "GCE from 16 random tokens". Oracles are marked. A finished run whose accuracy is no percentage counts as failed.

    Args:
        frame: As `bench.results.load` gives it; with a column `side`, labels are told apart where one side holds several variants.
        names: What to show instead: from a method, a label or a key to a name.

    Raises:
        BenchError: A name for what is not there, or one name for two rows.
    """
    runs = frame[frame["source"] == "run"]
    broken = (runs["status"] == "done") & ~runs["accuracy"].astype(float).between(0, 100)
    runs = runs.assign(
        status=runs["status"].where(~broken, "failed"),
        error=runs["error"].where(~broken, runs["accuracy"].map("its accuracy is {}".format)),
        zero_shot=runs["zero_shot"].astype(float).where(runs["zero_shot"].astype(float).between(0, 100)),
    )
    apart = _apart(runs)
    runs = runs.assign(key=runs["label"] + apart, label=_shown(runs, apart, names or {}))
    runs["label"] += np.where(runs["oracle"].notna(), ORACLE, "")
    rows = runs[["label", "key"]].drop_duplicates()
    twice = rows[rows.duplicated("label", keep=False)]
    if len(twice):
        raise BenchError(
            f"{' and '.join(twice['key'].head(2))} would both be shown as '{twice['label'].iloc[0]}'.", "Give them different names."
        )
    return runs


def _shown(runs: pd.DataFrame, apart: pd.Series, names: Mapping[str, str]) -> pd.Series:
    """Labels with the methods' titles in place of their registered names, and the user's names in place of either."""
    of_method = runs["label"] == runs["method"]
    begins = np.array([label.startswith(method) for label, method in zip(runs["label"], runs["method"], strict=True)], dtype=bool)
    titles = runs["method_title"].where(runs["method_title"].notna(), runs["method"])
    titles = titles.where(
        titles.map(runs.groupby(titles)["method"].nunique()) == 1, runs["method"]
    )  # a title of two methods names none
    rest = pd.Series([label[len(method) :] for label, method in zip(runs["label"], runs["method"], strict=True)], runs.index)
    shown: pd.Series = (titles + rest).where(begins, runs["label"]) + apart
    usual, known = shown, {*runs["method"], *runs["label"], *(runs["label"] + apart), *shown}
    for name, wanted in names.items():
        if name not in known:
            raise BenchError(f"--name {name}={wanted}: no method '{name}'.", nearest(name, known))
        shown = shown.mask((runs["label"] == name) | (of_method & (runs["method"] == name)), wanted + apart)
        shown = shown.mask((runs["label"] + apart == name) | (usual == name), wanted)
    return shown


def protocol(train: str) -> dict[str, Any]:
    """A training protocol from its JSON: every key, but in place of those that say where a context begins `start`, in words."""
    keys = ABSENT | json.loads(train)
    return {"start": start(keys)} | {key: value for key, value in keys.items() if key not in START}


def start(keys: Mapping[str, Any]) -> str:
    """Where a context begins, as papers say it: `16 random tokens`, `"a photo of a"`, `the card's template`."""
    length = keys["n_ctx"]
    if keys["ctx_init"] == "random":
        return counted(length, "random token")
    words = "the card's template" if keys["ctx_init"] == "template" else f'"{keys["ctx_words"].strip()}"'
    return f"{words} in {counted(length, 'token')}" if length else words


def _apart(runs: pd.DataFrame) -> pd.Series:
    """What tells the variants of a label apart: " lr=0.01"; "" where a label has one variant."""
    suffix = pd.Series("", runs.index)
    sides = runs["side"] if "side" in runs else pd.Series(0, runs.index)
    trained = runs["trained"]
    for column, keys_of in (("params", json.loads), ("train", protocol)):
        labels = (runs["label"] + suffix)[trained]
        several = runs.loc[trained, column].groupby([labels, sides[trained]]).nunique().groupby(level=0).max() > 1
        for label in several.index[several]:
            rows = labels.index[labels == label]
            texts = runs.loc[rows, column]
            variants = {text: keys_of(text) for text in texts.unique()}
            for key in differing(variants.values()):
                suffix.loc[rows] += texts.map({text: _said(key, one[key]) if key in one else "" for text, one in variants.items()})
    return suffix


def _said(key: str, value: Any) -> str:
    """A key and its value behind a label: " lr=0.01", " from 16 random tokens"."""
    return f" from {value}" if key == "start" else f" {key}={text(value)}"


def differing(variants: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys whose values differ among some mappings; what one lacks is None."""
    variants = list(variants)
    keys = dict.fromkeys(key for one in variants for key in one)
    return [key for key in keys if len({json.dumps(one.get(key)) for one in variants}) > 1]


def text(value: Any) -> str:
    """A setting's value as labels show it: "0.01", "0.01|0.02" of several."""
    return f"{value:g}" if isinstance(value, float) else "|".join(map(text, value)) if isinstance(value, list) else str(value)


def one_protocol(runs: pd.DataFrame, mixed: Sequence[str] = ()) -> list[str]:
    """A note for every training key in which methods differ, if it was asked for by name.

    A key that the labels show, as that of a grid over it, is an axis and no difference.

    Args:
        runs: Comparable ones.
        mixed: Keys that may differ.

    Raises:
        BenchError: Methods were trained differently, and no label says so; or there is no such key.
    """
    rows = runs[runs["epochs"] > 0].drop_duplicates("label")
    protocols = {label: protocol(train) for label, train in rows[["label", "train"]].itertuples(index=False)}
    keys = dict(zip(rows["label"], rows["key"], strict=True))
    known = {key for one in (protocol("{}"), *protocols.values()) for key in one}
    for key in mixed:
        if key not in known:
            raise BenchError(f"--mixed '{key}' is not a key of the training protocol.", nearest(key, known))
    notes = []
    for key in differing(protocols.values()):
        unsaid: dict[str, list[str]] = {}
        for label, one in protocols.items():
            if _said(key, one.get(key)) not in keys[label]:
                unsaid.setdefault(text(one.get(key)), []).append(label)
        if len(unsaid) < 2:
            continue
        said = "; ".join(f"{value} ({listed(labels)})" for value, labels in unsaid.items())
        if key not in mixed:
            raise BenchError(
                f"methods were trained differently and no label says so: {key} is {said}.",
                f"Choose with --where, or compare them all the same with --mixed {key}.",
            )
        notes.append(f"methods differ in {key}: {said}")
    return notes


def matching(rows: pd.DataFrame, name: str, option: str) -> list[str]:
    """The labels that a user means by a name: a label, its key, or a method (all its labels).

    Args:
        rows: With columns label, key, method.
        name: What the user wrote.
        option: For the message.

    Raises:
        BenchError: Nothing of that name.
    """
    for column in ("label", "key", "method"):
        found = rows.loc[(rows[column] == name) | (rows[column] == name + ORACLE), "label"]
        if len(found):
            return list(dict.fromkeys(found))
    known = {*rows["label"], *rows["key"], *rows["method"]}
    raise BenchError(f"{option} '{name}' is not among the methods.", nearest(name, known))
