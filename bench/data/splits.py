"""Splits in CoOp's format and its few-shot sampler."""

import json
import random
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from bench.errors import BenchError


class Item(NamedTuple):
    """One image: its path relative to the image root, and its true label."""

    path: str
    label: int


class Split(NamedTuple):
    """The three parts of a dataset, in the file's order."""

    train: list[Item]
    val: list[Item]
    test: list[Item]


def read_split(path: Path) -> Split:
    """A split file `{"train": [[relative path, label, class name], …], "val": …, "test": …}`."""
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        return Split(*([Item(str(p), int(label)) for p, label, _ in parts[part]] for part in Split._fields))
    except FileNotFoundError as error:
        raise BenchError(f"split file {path} does not exist.", "Run `bench doctor` to see which files a dataset needs.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"split file {path} is not in CoOp's format ({error!r}).",
            'It holds {"train": [[path, label, class name], …], "val": …, "test": …}.',
        ) from error


def sample_shots(items: list[Item], shots: int, rng: random.Random) -> list[Item]:
    """`shots` items of every class, as CoOp draws them; all of a class that has fewer, and all of all classes where shots is 0.

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
        chosen += rng.sample(members, shots) if len(members) >= shots else members
    return chosen


def draw_few_shot(split: Split, shots: int, seed: int) -> tuple[list[Item], list[Item]]:
    """The training shots and min(shots, 4) validation shots per class of a seed (all of both where shots is 0)."""
    rng = random.Random(seed)  # noqa: S311 - CoOp's own generator, so that its published subsets come out
    return sample_shots(split.train, shots, rng), sample_shots(split.val, min(shots, 4), rng)
