"""A run's data, put together from card, split, noise and cached features."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.cards import Card, find_card, load_card
from bench.data.features import FeatureSet, open_features
from bench.data.noise import Labels, make_noise
from bench.data.splits import Item, Split, draw_few_shot, read_split
from bench.paths import features_root
from bench.seeds import derive
from bench.spec import RunSpec, digest

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TaskData:
    """Arrays of one run. Features are L2-normalised, float32; the true training labels are for measuring only."""

    card: Card
    train: Array  # [1 + V, N, D], the clean view first
    given: Labels  # [N]
    true: Labels  # [N]
    val: Array  # [Nv, D]
    val_given: Labels  # [Nv], with the same kind and rate of noise
    val_true: Labels  # [Nv]
    test: Array  # [T, D]
    test_true: Labels  # [T]

    @property
    def noise_digest(self) -> str:
        """Identifies the wrong labels: equal for every method of one dataset, shots, noise and seed."""
        return digest(self.given.tolist())


@lru_cache(maxsize=64)
def split_of(dataset: str) -> Split:
    """The split that a card names."""
    return read_split(find_card(dataset).parent / load_card(dataset).split)


@lru_cache(maxsize=64)
def task_digest(dataset: str) -> str:
    """Identifies a dataset's class names, templates and split."""
    card = load_card(dataset)
    split = [[list(item) for item in part] for part in split_of(dataset)]
    return digest([card.classes, card.templates, split])


def features_folder(dataset: str, backbone: str) -> Path:
    """Where a dataset's features of a backbone lie: beside the card where it ships them, else in the user's cache."""
    card = load_card(dataset)
    root = find_card(dataset).parent / card.features if card.features else features_root() / card.name
    return root / backbone


@lru_cache(maxsize=256)
def features_of(dataset: str, backbone: str, part: str) -> FeatureSet:
    """The opened features of a split part ("train", "val" or "test")."""
    return open_features(features_folder(dataset, backbone) / part)


def features_version(dataset: str, backbone: str) -> str:
    """The fingerprint of the features a run computes on."""
    return digest([features_of(dataset, backbone, part).fingerprint for part in Split._fields])


def _labels(items: list[Item]) -> Labels:
    return np.array([item.label for item in items], dtype=np.int64)


def load_task(spec: RunSpec) -> TaskData:
    """The data of a run: the shots of its seed, their noisy labels and all features.

    Raises:
        BenchError: A card, split or feature file is missing or does not fit.
    """
    card, split = load_card(spec.dataset), split_of(spec.dataset)
    shots, val = draw_few_shot(split, spec.shots, spec.seed)
    classes, noise, noise_seed = len(card.classes), spec.noise, derive(spec.seed, card.name)

    def rows(part: str, items: list[Item]) -> Array:
        return features_of(spec.dataset, spec.backbone, part).rows([item.path for item in items])

    true, val_true = _labels(shots), _labels(val)
    return TaskData(
        card=card,
        train=np.ascontiguousarray(rows("train", shots)[:, : 1 + spec.views].swapaxes(0, 1)),
        given=make_noise(noise.protocol, true, classes, noise.rate, noise_seed),
        true=true,
        val=rows("val", val)[:, 0],
        val_given=make_noise(noise.protocol, val_true, classes, noise.rate, noise_seed, part="val"),
        val_true=val_true,
        test=rows("test", split.test)[:, 0],
        test_true=_labels(split.test),
    )
