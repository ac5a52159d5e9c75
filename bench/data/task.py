"""What a run needs: its images, its labels by people, whether all features are there, and the arrays it gets (load.py)."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.backbones.description import EMBEDDED, check_name, describe
from bench.data.cards import Card, find_card, load_card
from bench.data.features import FeatureSet, open_features
from bench.data.noise import Labels, kind, label_set, protocol_of, realised_rate
from bench.data.replaced import draw_halves, replace_images
from bench.data.splits import Item, Split, check_split, draw_few_shot, read_split
from bench.errors import ENVIRONMENT, BenchError
from bench.files import read_json
from bench.paths import features_root
from bench.seeds import derive
from bench.spec import NoiseSpec, RunSpec, digest

Array = NDArray[np.float32]
Table = NDArray[np.float16] | NDArray[np.float32]  # half precision, as features are stored


@dataclass(frozen=True, eq=False)
class RunData:
    """Arrays of one run; runs that are loaded together share them. The true training labels are for measuring only."""

    card: Card
    table: Table  # [U, 1 + V, D] L2-normalised features of all images that any of these runs trains on, the clean view first
    rows: Labels  # [N] where this run's images are in it
    given: Labels  # [N]
    true: Labels  # [N]; where nobody knows them (`true_known`), the given ones
    val: Array  # [Nv, D]
    val_given: Labels  # [Nv], with the same kind and rate of noise
    val_true: Labels  # [Nv]
    test: Array  # [T, D]
    test_true: Labels  # [T]
    paths: tuple[str, ...] = ()  # of the training images
    true_known: bool = True

    @property
    def train(self) -> Array:
        """Features of the training images, [1 + V, N, D]."""
        return self.table[self.rows].swapaxes(0, 1).astype(np.float32)

    @cached_property
    def noise_digest(self) -> str:
        """Identifies the wrong labels and their images: equal for every method of one dataset, shots, noise and seed."""
        return digest([self.given.tolist(), self.true.tolist(), self.paths])

    @property
    def realised_rate(self) -> float:
        """The share of training labels that are wrong, in [0, 1]; NaN where nobody knows the true ones."""
        return realised_rate(self.given, self.true) if self.true_known else float("nan")


def cached_split(card: Card) -> Path:
    """Where extraction keeps the split of a card without a shipped one."""
    return features_root() / card.name / "split.json"


def cached_human(card: Card) -> Path:
    """Where extraction keeps the human labels of a card: {"<set>": {path: label}}."""
    return features_root() / card.name / "human.json"


@lru_cache(maxsize=64)
def split_of(dataset: str) -> Split:
    """The split of a dataset: the one that ships with its card, or the one that extraction has read and checked.

    Raises:
        BenchError: There is none yet, or it does not fit the card.
    """
    card = load_card(dataset)
    path = find_card(dataset).parent / card.split if card.split else cached_split(card)
    if not card.split and not path.is_file():
        raise BenchError(
            f"dataset '{card.name}' has no features on this machine yet.",
            f"Extract them: bench features extract {dataset} --images DIR --split FILE (neither where BENCH_DATA is set). "
            f"{card.how_to_get}".strip(),
        )
    split = read_split(path, card.classes)
    check_split(split, len(card.classes), card.counts, path)
    return split


@lru_cache(maxsize=64)
def task_digest(dataset: str) -> str:
    """Identifies a dataset's class names, templates and split."""
    card = load_card(dataset)
    split = [[list(item) for item in part] for part in split_of(dataset)]
    return digest([card.classes, card.templates, split])


def features_folder(dataset: str, backbone: str) -> Path:
    """Where a dataset's features of a backbone lie: beside the card where it ships them, else in the user's cache."""
    check_name(backbone)
    card = load_card(dataset)
    root = find_card(dataset).parent / card.features if card.features else features_root() / card.name
    return root / backbone


@lru_cache(maxsize=64)
def usable(model: str) -> None:
    """Whether prompts can be tuned with a backbone's model here; see `bench.backbones.tokenizers.check_text_side`."""
    from bench.backbones.tokenizers import check_text_side  # noqa: PLC0415 - imports open_clip

    check_text_side(model)


@lru_cache(maxsize=256)
def features_of(dataset: str, backbone: str, part: str) -> FeatureSet:
    """The opened features of a split part ("train", "val" or "test")."""
    return open_features(features_folder(dataset, backbone) / part)


def features_version(dataset: str, backbone: str) -> str:
    """The fingerprint of the features a run computes on.

    Raises:
        BenchError: There are none, they were made with another backbone than the slug names now, or its text side cannot be used.
    """
    parts = [part for part, items in split_of(dataset)._asdict().items() if items]
    found = [features_of(dataset, backbone, part) for part in parts]
    described = describe(backbone)
    for features in found:
        if odd := described.contradicts(features.inputs):
            raise BenchError(
                f"the features in {features.folder} are of another backbone than '{backbone}' is now ({', '.join(odd)} differ).",
                "Put its description back, or remove that folder and extract anew.",
                ENVIRONMENT,
            )
    if backbone != EMBEDDED:
        usable(described.model)
    return digest([features.fingerprint for features in found])


def check_noise(card: Card, noise: NoiseSpec) -> None:
    """Whether a dataset can carry a noise.

    Raises:
        BenchError: It has no such human labels, or none but human ones, so that no other noise can be put on known labels.
    """
    name, chosen = kind(noise.protocol), label_set(noise.protocol)
    if card.train_labels == "human":
        if name != "human" or chosen or noise.rate != 1:
            raise BenchError(
                f"the training labels of '{card.name}' are people's and the true ones are unknown, so '{noise.protocol}' noise at "
                f"rate {noise.rate} cannot be made.",
                "Ask for [noise] human = [1.0].",
            )
    elif name == "human" and (card.human is None or (chosen and chosen not in card.human.sets)):
        known = f"It has: {', '.join(card.human.sets)}." if card.human else "Only cards with [human] do (bench datasets --json)."
        raise BenchError(f"dataset '{card.name}' has no labels for '{noise.protocol}'.", known)


@lru_cache(maxsize=8)
def human_labels(dataset: str, protocol: str) -> dict[str, int]:
    """The human label of each image, by path, of the set that a protocol names, or the card's first.

    Raises:
        BenchError: They are not there, or are of other sets than the card's.
    """
    card = load_card(dataset)
    path = cached_human(card)
    if card.human is None or not path.is_file():
        raise BenchError(
            f"the human labels of '{card.name}' are not in {path.parent}.", "Extract its features again, with --labels FILE."
        )
    chosen, sets = label_set(protocol) or next(iter(card.human.sets)), read_json(path, "file of human labels")
    if not isinstance(sets, dict) or chosen not in sets:
        raise BenchError(f"{path} holds no labels '{chosen}'.", "Remove it and extract the features again, with --labels FILE.")
    labels: dict[str, int] = sets[chosen]
    return labels


class Images(NamedTuple):
    """The images of a run."""

    shots: list[Item]  # the sampled shots: their labels are the given ones where images are replaced
    train: list[Item]  # the images that training sees, with their true labels
    val: list[Item]


def replaces_images(noise: NoiseSpec) -> bool:
    """Whether images give way under a noise, so that the shots come from the halves of their classes."""
    return noise.rate > 0 and protocol_of(noise.protocol).replaces is not None


def drawing(noise: NoiseSpec) -> NoiseSpec:
    """What of a noise decides which images a run uses: all of it where it replaces some, else nothing."""
    return noise if replaces_images(noise) else NoiseSpec()


def draw_images(card: Card, split: Split, shots: int, seed: int, noise: NoiseSpec) -> Images:
    """Which images a run uses, before any feature is read."""
    sampled, val = draw_few_shot(split, shots, seed)
    if not replaces_images(noise):
        return Images(sampled, sampled, val)
    sampled, spare = draw_halves(split.train, shots, seed)
    train = replace_images(noise.protocol, sampled, spare, len(card.classes), noise.rate, derive(seed, card.name))
    return Images(sampled, train, val)


def needed_images(card: Card, split: Split, shots: Iterable[int], seeds: Iterable[int], noises: Iterable[NoiseSpec]) -> Split:
    """The images that the runs of a grid use, in the split's order; the test part whole."""
    settings = [(k, seed, noise) for k in shots for seed in seeds for noise in noises]
    drawn = [draw_images(card, split, *setting) for setting in settings]
    train = {item for images in drawn for item in images.train + images.shots}  # with those that a lower rate would leave in place
    val = {item for images in drawn for item in images.val}
    return Split([i for i in split.train if i in train], [i for i in split.val if i in val], split.test)


@lru_cache(maxsize=4096)
def _check_images(dataset: str, backbone: str, shots: int, seed: int, noise: NoiseSpec) -> None:
    """Whether all images of a run are in the cache."""
    split = split_of(dataset)
    images = draw_images(load_card(dataset), split, shots, seed, noise)
    for part, items in (("train", images.train), ("val", images.val), ("test", split.test)):
        if items:
            features_of(dataset, backbone, part).check([item.path for item in items])


def check_ready(spec: RunSpec) -> None:
    """Whether a run could start: its dataset can carry the noise, and all images it uses are in the cache, with enough views.

    Raises:
        BenchError: It could not, and why.
    """
    if not spec.sees_shots:
        features_of(spec.dataset, spec.backbone, "test").check([item.path for item in split_of(spec.dataset).test])
        return
    check_noise(load_card(spec.dataset), spec.noise)
    check_views(spec)
    _check_images(spec.dataset, spec.backbone, spec.shots, spec.seed, drawing(spec.noise))


def check_views(spec: RunSpec) -> None:
    """Whether the features have as many augmented views as a run wants.

    Raises:
        BenchError: They have fewer.
    """
    views = features_of(spec.dataset, spec.backbone, "train").views
    if spec.views > views:
        raise BenchError(
            f"the run wants {spec.views} augmented views, the features of '{spec.dataset}' by '{spec.backbone}' have {views}.",
            f"Set views = {views} in the grid, or extract anew with --views {spec.views}.",
        )
