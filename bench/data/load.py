"""The arrays of runs, put together from card, split, noise and cached features. Runs that are loaded together share them."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from bench.data.cards import load_card
from bench.data.noise import Labels, make_noise, protocol_of
from bench.data.splits import Item
from bench.data.task import (
    Array,
    Images,
    RunData,
    Table,
    check_noise,
    check_views,
    draw_images,
    drawing,
    features_of,
    human_labels,
    split_of,
)
from bench.seeds import derive
from bench.spec import RunSpec

LogitsOf = Callable[[Array], Array]  # image features [N, D] to the zero-shot model's logits [N, C]


class _Draw(NamedTuple):
    """The images of a draw and their features."""

    images: Images
    table: Table  # [U, 1 + V, D]
    rows: Labels  # [N] of the training images
    val: Array  # [Nv, D]


def load_run(spec: RunSpec, zero_shot: LogitsOf | None = None) -> RunData:
    """The data of one run (see `load_data`)."""
    return load_data([spec], zero_shot)[0]


def load_data(specs: Sequence[RunSpec], zero_shot: LogitsOf | None = None) -> list[RunData]:
    """The data of runs of one dataset and backbone: the shots of their seeds, their noisy labels and all features.

    Nothing is held twice: a training image is in one table, however many draws and runs use it; draws keep rows of it. Runs that
    differ in method or protocol only are one task, and all runs share the test features.

    Args:
        specs: The runs.
        zero_shot: The zero-shot model of the card's template; for a noise protocol that needs it ("confusion").

    Raises:
        BenchError: A card, split or feature file is missing or does not fit, or the dataset cannot carry the noise.
    """
    draws: dict[tuple[object, ...], _Draw] = {}
    for views in dict.fromkeys(spec.views for spec in specs):
        draws |= _draws({_draw_key(spec): spec for spec in specs if spec.views == views})
    loaded: dict[str, RunData] = {}
    tasks = []
    for spec in specs:
        key = f"{_draw_key(spec)} {spec.noise}"
        if key not in loaded:
            loaded[key] = _task(spec, draws[_draw_key(spec)], zero_shot)
        tasks.append(loaded[key])
    return tasks


def _draw_key(spec: RunSpec) -> tuple[object, ...]:
    """What decides which features a run uses."""
    return (spec.views, spec.sees_shots, spec.shots, spec.seed, drawing(spec.noise))


def _draws(specs: dict[tuple[object, ...], RunSpec]) -> dict[tuple[object, ...], _Draw]:
    """The draws of runs with equal views, over one table."""
    images = {key: _images(spec) for key, spec in specs.items()}
    used = list(dict.fromkeys(item for drawn in images.values() for item in drawn.train))
    some = next(iter(specs.values()))
    if used:
        check_views(some)
    table, place = _features(some, "train", used, 1 + some.views), {item: row for row, item in enumerate(used)}
    return {
        key: _Draw(
            drawn,
            table,
            np.array([place[item] for item in drawn.train], dtype=np.int64),
            _features(some, "val", drawn.val, 1)[:, 0].astype(np.float32),
        )
        for key, drawn in images.items()
    }


def _images(spec: RunSpec) -> Images:
    """The images of a run; what trains nothing sees the test part only, so it needs no features of the others."""
    if not spec.sees_shots:
        return Images([], [], [])
    return draw_images(load_card(spec.dataset), split_of(spec.dataset), spec.shots, spec.seed, spec.noise)


def _features(spec: RunSpec, part: str, items: Sequence[Item], views: int) -> Table:
    """Features [n, views, D] of images, as they are stored."""
    if not items:
        return np.zeros((0, views, features_of(spec.dataset, spec.backbone, "test").dim), dtype=np.float16)
    return features_of(spec.dataset, spec.backbone, part).stored([item.path for item in items], views)


@lru_cache(maxsize=2)
def features_of_test(dataset: str, backbone: str) -> Array:
    """Features [T, D] of all test images: the same for all runs, and for the next shard of a worker."""
    features = features_of(dataset, backbone, "test")
    return features.stored([item.path for item in split_of(dataset).test], 1)[:, 0].astype(np.float32)


def _labels(items: Sequence[Item]) -> Labels:
    return np.array([item.label for item in items], dtype=np.int64)


def _task(spec: RunSpec, draw: _Draw, zero_shot: LogitsOf | None) -> RunData:
    card, images, val, val_rows = load_card(spec.dataset), draw.images, draw.images.val, draw.val
    protocol, entry = spec.noise.protocol, protocol_of(spec.noise.protocol)
    of_people = entry.needs == "human"
    if spec.sees_shots:
        check_noise(card, spec.noise)
    people = human_labels(spec.dataset, protocol) if of_people and card.train_labels == "true" else {}
    if of_people:  # selection must see the same kind of labels: validation images that people did not label are left out
        labelled = [i for i, item in enumerate(val) if item.path in people]
        val, val_rows = [val[i] for i in labelled], val_rows[labelled]

    def noisy(items: list[Item], clean_view: Array, part: str) -> Labels:
        return make_noise(
            protocol, _labels(items), len(card.classes), spec.noise.rate, derive(spec.seed, card.name), part,
            features=clean_view,
            zero_shot=zero_shot(clean_view) if zero_shot and entry.needs == "zero_shot" else None,
            human=np.array([people[item.path] for item in items], dtype=np.int64) if people else None,
        )  # fmt: skip

    keep = entry.replaces is not None or card.train_labels == "human"
    clean_view = draw.table[draw.rows, 0].astype(np.float32)
    return RunData(
        card=card,
        table=draw.table,
        rows=draw.rows,
        given=_labels(images.shots) if keep else noisy(images.train, clean_view, "train"),
        true=_labels(images.train),
        val=val_rows,
        val_given=noisy(val, val_rows, "val"),
        val_true=_labels(val),
        test=features_of_test(spec.dataset, spec.backbone),
        test_true=_labels(split_of(spec.dataset).test),
        paths=tuple(item.path for item in images.train),
        true_known=card.train_labels == "true",
    )
