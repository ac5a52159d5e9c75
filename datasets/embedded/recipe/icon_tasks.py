"""Step 4: the icon tasks: classes by counts, splits by families, no near-duplicates.

    python icon_tasks.py --icons PACKAGE --work DIR --datasets DATASETS_FOLDER

The rules, all of them by counts and pixels alone, none by any accuracy:
* Only held-out families. An icon belongs to the first class of themes.toml that its name says exactly; no icon is in two tasks.
* At most 5 icons per set and class (shortest names first) and 16 per family and class, so that no house dominates a class.
* A picture whose thumbnail is nearly that of a picture of another family, anywhere in the task, is dropped.
* A class is kept with at least 30 pictures, a task with at least 8 classes and 300 test pictures; of more than 20 classes the
  20 fullest are kept.
* Themes that are too small alone are joined with another one (JOINED).
* All pictures of one class by one family lie on one side (train, val or test); families are put on sides by a seeded shuffle.
"""

from __future__ import annotations

import argparse
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
TRAIN, VAL, MAX_TRAIN, MAX_VAL, MAX_TEST = 16, 4, 24, 6, 50
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


def read_themes(path: Path) -> dict[str, dict[str, set[str]]]:
    """Theme -> class -> all names that count as the class; a name belongs to the first class that lists it."""
    taken: set[str] = set()
    themes: dict[str, dict[str, set[str]]] = {}
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


def drop_near_duplicates(classes: dict[str, list[Icon]], pixels: Pixels) -> dict[str, list[Icon]]:
    """Leave out every picture that is nearly the same as an earlier one by another family or of another class of the task."""
    kept: dict[str, list[Icon]] = {}
    thumbs, owners = np.empty((0, 256), np.float32), np.empty(0, dtype=object)
    for label, icons in classes.items():
        kept[label] = []
        for icon in icons:
            thumb = pixels(icon).mean(-1).reshape(16, 4, 16, 4).mean((1, 3)).reshape(1, 256).astype(np.float32) / 255
            owner = f"{icon.family}/{label}"
            near = np.abs(thumbs - thumb).mean(-1) < NEAR
            if (near & (owners != owner)).any():
                continue
            kept[label].append(icon)
            thumbs, owners = np.concatenate([thumbs, thumb]), np.append(owners, owner)
    return kept


def put_on_sides(icons: list[Icon], seed: str) -> dict[str, list[Icon]]:
    """Whole families to test, val and train, so that train has 16 to 24, val 4 to 6 and test the rest, up to 50."""
    by_family: dict[str, list[Icon]] = defaultdict(list)
    for icon in icons:
        by_family[icon.family].append(icon)
    families = sorted(by_family)
    random.Random(seed).shuffle(families)
    families.sort(
        key=lambda family: len(by_family[family]) > 2
    )  # small families first: they fill val without waste, and several of them
    train_goal = max(TRAIN, min(MAX_TRAIN, round(0.45 * len(icons))))
    sides: dict[str, list[Icon]] = {"train": [], "val": [], "test": []}
    rest: list[str] = []
    for family in families:
        if len(sides["val"]) < VAL:
            sides["val"] += by_family[family]
        else:
            rest.append(family)
    random.Random(f"{seed}/rest").shuffle(rest)
    for family in rest:
        sides["train" if len(sides["train"]) < train_goal else "test"] += by_family[family]
    return {side: sides[side][:limit] for side, limit in (("train", MAX_TRAIN), ("val", MAX_VAL), ("test", MAX_TEST))}


def make_task(
    theme: str, classes: dict[str, set[str]], found: dict[str, list[Icon]], pixels: Pixels, datasets: Path, work: Path
) -> str:
    """Build one task, or say why there is none."""
    members = drop_near_duplicates(
        {label: members_of(names, found, f"{theme}/{label}") for label, names in classes.items()}, pixels
    )
    full = sorted((label for label in members if len(members[label]) >= MIN_CLASS), key=lambda label: (-len(members[label]), label))
    labels = sorted(full[:MAX_CLASSES])
    sides = {label: put_on_sides(members[label], f"sides/{theme}/{label}") for label in labels}
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
    smallest = min(min(len(side["train"]), 99) for side in sides.values())
    return f"{theme}: {len(labels)} classes, {dict(counts)}, {families} families, fewest train {smallest}"


def main() -> None:
    """Build all icon tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icons", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--datasets", type=Path, required=True)
    args = parser.parse_args()
    found, pixels = held_out_icons(args.icons, args.work), Pixels(args.work)
    themes = read_themes(Path(__file__).parent / "themes.toml")
    for theme, classes in (bar := tqdm(themes.items(), unit="task")):
        bar.write(make_task(theme, classes, found, pixels, args.datasets, args.work))


if __name__ == "__main__":
    main()
