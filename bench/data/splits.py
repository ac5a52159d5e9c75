"""Splits in CoOp's format and its few-shot sampler."""

import json
import posixpath
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import BenchError
from bench.files import is_utf8, read_json, write_text


class Item(NamedTuple):
    """One image: its path relative to the image root, and its true label."""

    path: str
    label: int


class Split(NamedTuple):
    """The three parts of a dataset, in the file's order."""

    train: list[Item]
    val: list[Item]
    test: list[Item]


def read_split(path: Path, classes: Sequence[str] | None = None) -> Split:
    """A split file `{"train": [[relative path, label, class name], …], "val": …, "test": …}`.

    Args:
        path: The file.
        classes: Class names in label order; the file must call its labels so.

    Raises:
        BenchError: The file is missing, not in CoOp's format, or names other classes.
    """
    parts = read_json(path, "split file", "Run `bench doctor` to see which files a dataset needs.")
    try:
        rows = {part: [(str(p), int(label), str(name)) for p, label, name in parts[part]] for part in Split._fields}
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"split file {path} is not in CoOp's format ({error!r}).",
            'It holds {"train": [[path, label, class name], …], "val": …, "test": …}.',
        ) from error
    if classes is not None:
        _check_names(path, {(label, name) for part in rows.values() for _, label, name in part}, classes)
    return Split(*([Item(p, label) for p, label, _ in rows[part]] for part in Split._fields))


def _check_names(path: Path, found: set[tuple[int, str]], classes: Sequence[str]) -> None:
    labels = {label for label, _ in found}
    if labels != set(range(len(classes))):
        raise BenchError(
            f"split file {path} has {len(labels)} classes ({min(labels, default=0)} to {max(labels, default=0)}), "
            f"the card {len(classes)} (0 to {len(classes) - 1}).",
            "Give the split file of this dataset.",
        )
    for label, name in sorted(found):
        if name.replace("_", " ") != classes[label].replace("_", " "):
            raise BenchError(
                f"split file {path} calls class {label} '{name}', the card '{classes[label]}'.",
                "Give the split file of this dataset, or correct the order of the card's classes.",
            )


def write_split(path: Path, split: Split, classes: Sequence[str]) -> None:
    """Write a split in CoOp's format, whole or not at all."""
    parts = {part: [[p, label, classes[label]] for p, label in items] for part, items in split._asdict().items()}
    write_text(path, json.dumps(parts, ensure_ascii=False, separators=(",", ":")))


def check_split(split: Split, classes: int, counts: Mapping[Any, int], where: Path) -> None:
    """What every split must hold: the card's counts, labels in range, no path twice or in two spellings, all below the image root.

    Raises:
        BenchError: It does not; the sentence names the first offender.
    """
    seen: dict[str, str] = {}
    for part, items in split._asdict().items():
        if counts and len(items) != counts.get(part, 0):
            raise BenchError(
                f"split {where} has {len(items)} {part} images, the card says {counts.get(part, 0)}.",
                "It is another split of this dataset; published numbers do not compare across splits.",
            )
        for path, label in items:
            if not 0 <= label < classes:
                raise BenchError(
                    f"split {where} gives '{path}' the label {label}; the card has {classes} classes.", "Check the file."
                )
            if path in seen:
                raise BenchError(
                    f"split {where} holds '{path}' twice ({seen[path]} and {part}).", "Every image belongs to one part."
                )
            if path.startswith("/") or ".." in path.split("/") or "\\" in path:
                raise BenchError(f"split {where} holds '{path}', which leaves the image root.", "Paths are relative, with '/'.")
            if path != posixpath.normpath(path):
                raise BenchError(
                    f"split {where} holds '{path}', which is another spelling of '{posixpath.normpath(path)}'.",
                    "Write every path in its shortest form.",
                )
            if not is_utf8(path):
                raise BenchError(f"split {where} holds {path!r}, whose name is not UTF-8.", "Rename the file.")
            seen[path] = part


def sample_shots(items: list[Item], shots: int, rng: random.Random, *, repeat: bool = False) -> list[Item]:
    """`shots` items of every class, as CoOp draws them, and all of all classes where shots is 0.

    A class that has fewer gives all of them; with `repeat` it gives `shots` draws with replacement.

    CoOp seeds Python's `random` with the run's seed, goes through the classes in order of first appearance and draws
    `random.sample`; the published lists come out of it in the same order.
    """
    if shots == 0:
        return list(items)
    by_class: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        by_class[item.label].append(item)
    chosen: list[Item] = []
    for members in by_class.values():
        chosen += rng.sample(members, shots) if len(members) >= shots else rng.choices(members, k=shots) if repeat else members
    return chosen


def draw_few_shot(split: Split, shots: int, seed: int) -> tuple[list[Item], list[Item]]:
    """The training shots and min(shots, 4) validation shots per class of a seed (all of both where shots is 0)."""
    rng = random.Random(seed)  # noqa: S311 - CoOp's own generator, so that its published subsets come out
    return sample_shots(split.train, shots, rng), sample_shots(split.val, min(shots, 4), rng)
