"""Step 4: the icon tasks: classes by counts, splits by families, no near-duplicates.

    python icon_tasks.py --icons PACKAGE --work DIR --datasets DATASETS_FOLDER

The rules, all of them by counts and pixels alone, none by any accuracy:
* Only held-out families. An icon belongs to the first class of themes.toml that its name says exactly; no icon is in two tasks.
* At most 5 icons per set and class (shortest names first) and 16 per family and class, so that no house dominates a class.
* A picture whose thumbnail is nearly that of a picture of another family, anywhere in the task, is dropped, and so is one that is
  nearly a pretraining picture of the same class: designers copy. A set that has more copies than not is left out altogether.
* A class is kept with at least 30 pictures of which 16 are for training, 4 for validation and 8 for test, a task with at least 8
  classes and 300 test pictures; of more than 20 classes the 20 fullest are kept.
* Themes that are too small alone are joined with another one (JOINED).
* All pictures of one class by one family lie on one side (train, val or test); families are put on sides by a seeded shuffle.
"""

from __future__ import annotations

import argparse
import json
import random
import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sets import concept_of, family_of, usable_sets
from split import deal_families
from task_files import Picture, on_white, write_task
from tqdm import tqdm

PER_SET, PER_FAMILY = 5, 16
MIN_CLASS, MIN_CLASSES, MAX_CLASSES, MIN_TEST = 30, 8, 20, 300
TRAIN, VAL, CLASS_TEST, MAX_TRAIN, MAX_VAL, MAX_TEST = 16, 4, 8, 24, 6, 50
NEAR = 0.02  # mean difference of 16 x 16 grey thumbnails in [0, 1]
JOINED = {
    "animals_nature": ("animals", "nature"), "food_clothes": ("food", "clothes"), "places_work": ("buildings", "places_work"),
    "charts_shapes": ("charts_time", "shapes"),
}  # fmt: skip
TITLES = {
    "sports_music": "sports and music", "security_people": "security and people", "editing": "text editing",
    "charts_shapes": "charts, time and shapes", "places_work": "places and work",
    "animals_nature": "animals and nature", "food_clothes": "food and clothes", "media": "media controls",
}  # fmt: skip
LICENCE = "the licences of the icon sets, see embedded/ATTRIBUTION.md"
CITATION = "Icon sets as collected by Iconify (@iconify/json 2.2.535); authors in embedded/ATTRIBUTION.md."


Themes = dict[str, dict[str, set[str]]]  # theme -> class -> names that count as the class


@dataclass(frozen=True)
class Icon:
    """A held-out icon that belongs to a class."""

    prefix: str
    name: str
    row: int

    @property
    def family(self) -> str:
        """The family of its set."""
        return family_of(self.prefix)


def read_themes(path: Path) -> Themes:
    """Theme -> class -> all names that count as the class; a name belongs to the first class that lists it."""
    taken: set[str] = set()
    themes: Themes = {}
    for theme, lines in tomllib.loads(path.read_text(encoding="utf-8")).items():
        themes[theme] = {}
        for line in lines:
            label, _, others = line.partition(":")
            names = {label.strip(), *(other.strip() for other in others.split(",") if other.strip())}
            if label.strip() in taken:
                continue
            themes[theme][label.strip()] = names - taken
            taken |= names
    for joined, parts in JOINED.items():
        themes[joined] = {label: names for part in parts for label, names in themes.pop(part).items()}
    return themes


def held_out_icons(icons: Path, work: Path) -> dict[str, list[Icon]]:
    """Concept -> the held-out icons of that name, shortest names first, per set."""
    sets = usable_sets(icons)
    held_out = set(deal_families(sets)["held_out"])
    found: dict[str, list[Icon]] = defaultdict(list)
    for prefix in sets:
        if family_of(prefix) not in held_out:
            continue
        with np.load(work / "render" / f"{prefix}.npz") as drawn:
            names = drawn["names"].tolist()
        for row in sorted(range(len(names)), key=lambda row: (len(names[row]), names[row])):
            found[concept_of(names[row])].append(Icon(prefix, names[row], row))
    return found


def members_of(names: set[str], found: dict[str, list[Icon]], seed: str) -> list[Icon]:
    """The icons of a class after the caps per set and per family, families in a seeded order."""
    rng = random.Random(seed)
    everyone = sorted((icon for name in names for icon in found.get(name, ())), key=lambda i: (i.prefix, len(i.name), i.name))
    per_set: Counter[str] = Counter()
    by_family: dict[str, list[Icon]] = defaultdict(list)
    for icon in everyone:
        per_set[icon.prefix] += 1
        if per_set[icon.prefix] <= PER_SET:
            by_family[icon.family].append(icon)
    families = sorted(by_family)
    rng.shuffle(families)
    chosen = []
    for family in families:
        rng.shuffle(by_family[family])  # so that the cap does not favour the sets that come first in the alphabet
        chosen += by_family[family][:PER_FAMILY]
    return chosen


class Pixels:
    """Pictures of icons on white, 64 x 64, read once per set."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._sets: dict[str, np.ndarray] = {}

    def __call__(self, icon: Icon) -> np.ndarray:
        """The picture of one icon, [64, 64, 3]."""
        if icon.prefix not in self._sets:
            with np.load(self.work / "render" / f"{icon.prefix}.npz") as drawn:
                self._sets[icon.prefix] = drawn["pixels"]
        return on_white(self._sets[icon.prefix][icon.row])


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """16 x 16 grey values in [0, 1] of a square RGB picture, as [1, 256]."""
    grey = pixels.astype(np.float32).mean(-1) / 255
    step = len(grey) // 16
    return grey.reshape(16, step, 16, step).mean((1, 3)).reshape(1, 256)


class Pretraining:
    """The thumbnails of the pretraining icons by concept, to find copies of them."""

    def __init__(self, work: Path) -> None:
        self._pixels = np.load(work / "pretrain" / "pixels.npy", mmap_mode="r")
        self._rows: dict[str, list[int]] = defaultdict(list)
        for row, fact in enumerate(json.loads((work / "pretrain" / "icons.json").read_text(encoding="utf-8"))):
            self._rows[fact["concept"]].append(row)

    def thumbs(self, names: set[str]) -> np.ndarray:
        """Thumbnails of all pretraining icons of these names."""
        rows = sorted(row for name in names for row in self._rows[name])
        return np.concatenate([np.empty((0, 256), np.float32), *(thumbnail(on_white(self._pixels[row])) for row in rows)])


def find_copies(themes: Themes, found: dict[str, list[Icon]], pixels: Pixels, pretraining: Pretraining) -> set[Icon]:
    """Held-out icons that are nearly a pretraining icon of the same class, and all icons of sets that mostly consist of such."""
    copies: set[Icon] = set()
    everyone: list[Icon] = []
    for classes in tqdm(themes.values(), desc="copies", unit="theme"):
        for names in classes.values():
            known, icons = pretraining.thumbs(names), [icon for name in names for icon in found.get(name, ())]
            everyone += icons
            copies |= {icon for icon in icons if (np.abs(known - thumbnail(pixels(icon))).mean(-1) < NEAR).any()}
    total, copied = Counter(icon.prefix for icon in everyone), Counter(icon.prefix for icon in copies)
    copiers = {prefix for prefix in total if copied[prefix] > total[prefix] / 2}
    print(f"{len(copies)} of {len(everyone)} held-out icons are near a pretraining icon; sets left out: {sorted(copiers)}")
    return copies | {icon for icon in everyone if icon.prefix in copiers}


def drop_near_duplicates(classes: dict[str, list[Icon]], pixels: Pixels) -> dict[str, list[Icon]]:
    """Leave out every picture that is nearly the same as an earlier one by another family or of another class of the task."""
    kept: dict[str, list[Icon]] = {}
    thumbs, owners = np.empty((0, 256), np.float32), np.empty(0, dtype=object)
    for label, icons in classes.items():
        kept[label] = []
        for icon in icons:
            thumb = thumbnail(pixels(icon))
            owner = f"{icon.family}/{label}"
            near = np.abs(thumbs - thumb).mean(-1) < NEAR
            if (near & (owners != owner)).any():
                continue
            kept[label].append(icon)
            thumbs, owners = np.concatenate([thumbs, thumb]), np.append(owners, owner)
    return kept


def put_on_sides(icons: list[Icon], seed: str) -> dict[str, list[Icon]]:
    """Whole families to val, train and test: train gets 16 to 24, val 4 to 6, test the rest (8 to 50 where there are enough)."""
    by_family: dict[str, list[Icon]] = defaultdict(list)
    for icon in icons:
        by_family[icon.family].append(icon)
    families = sorted(by_family)
    random.Random(seed).shuffle(families)
    families.sort(key=lambda family: len(by_family[family]) > 2)  # small families fill val without waste, and several of them
    sides: dict[str, list[Icon]] = {"train": [], "val": [], "test": []}
    while families and len(sides["val"]) < VAL:
        sides["val"] += by_family[families.pop(0)]
    random.Random(f"{seed}/rest").shuffle(families)
    train_goal = max(TRAIN, min(MAX_TRAIN, round(0.45 * len(icons))))
    for family in families:
        if len(sides["train"]) < TRAIN:
            side = "train"
        elif len(sides["test"]) < CLASS_TEST:
            side = "test"
        else:
            side = "train" if len(sides["train"]) < train_goal else "test"
        sides[side] += by_family[family]
    return {side: sides[side][:limit] for side, limit in (("train", MAX_TRAIN), ("val", MAX_VAL), ("test", MAX_TEST))}


def is_full(sides: dict[str, list[Icon]]) -> bool:
    """Whether every side of a class has enough pictures."""
    return len(sides["train"]) >= TRAIN and len(sides["val"]) >= VAL and len(sides["test"]) >= CLASS_TEST


def make_task(
    theme: str, classes: dict[str, set[str]], found: dict[str, list[Icon]], pixels: Pixels, datasets: Path, work: Path
) -> str:
    """Build one task, or say why there is none."""
    members = drop_near_duplicates(
        {label: members_of(names, found, f"{theme}/{label}") for label, names in classes.items()}, pixels
    )
    large = {label: icons for label, icons in members.items() if len(icons) >= MIN_CLASS}
    sides = {label: put_on_sides(icons, f"sides/{theme}/{label}") for label, icons in large.items()}
    sides = {label: dealt for label, dealt in sides.items() if is_full(dealt)}
    labels = sorted(sorted(sides, key=lambda label: (-len(members[label]), label))[:MAX_CLASSES])
    sides = {label: sides[label] for label in labels}
    tests = sum(len(side["test"]) for side in sides.values())
    if len(labels) < MIN_CLASSES or tests < MIN_TEST:
        return f"{theme}: left out, {len(labels)} classes, {tests} test pictures"
    pictures = [
        Picture(f"{icon.prefix}/{icon.name}.png", side, number, pixels(icon))
        for number, label in enumerate(labels)
        for side in ("train", "val", "test")
        for icon in sides[label][side]
    ]
    title = f"Icons: {TITLES.get(theme, theme)}"
    write_task(
        datasets, work, name=f"icons_{theme}", title=title, domain="in", template="an icon of a {}.", classes=labels,
        pictures=pictures, licence=LICENCE, citation=CITATION,
    )  # fmt: skip
    counts = Counter(picture.side for picture in pictures)
    families = len({family_of(picture.key.split("/")[0]) for picture in pictures})
    smallest = {side: min(len(dealt[side]) for dealt in sides.values()) for side in ("train", "val", "test")}
    return f"{theme}: {len(labels)} classes, {dict(counts)}, {families} families, fewest per class {smallest}"


def main() -> None:
    """Build all icon tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icons", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--datasets", type=Path, required=True)
    args = parser.parse_args()
    found, pixels = held_out_icons(args.icons, args.work), Pixels(args.work)
    themes = read_themes(Path(__file__).parent / "themes.toml")
    copies = find_copies(themes, found, pixels, Pretraining(args.work))
    found = {concept: [icon for icon in icons if icon not in copies] for concept, icons in found.items()}
    for theme, classes in (bar := tqdm(themes.items(), unit="task")):
        bar.write(make_task(theme, classes, found, pixels, args.datasets, args.work))


if __name__ == "__main__":
    main()
