"""Step 5, continued: tasks on icons and flags whose label is not what is drawn: number, turn, colour, hand, region of the world.

    python property_tasks.py --icons PACKAGE --cldr CLDR --work DIR --datasets DATASETS_FOLDER

CLDR is the unpacked npm package `cldr-core@48.2.0`. Only held-out families and, for the first four, only sets of one colour.
* icon_count: one to nine copies of an icon, in cells of a 3 x 3 grid, each moved a little;
* icon_rotation: icons of things that stand upright, turned clockwise by a multiple of 45 degrees, give or take 8;
* icon_colour: icons painted in a colour drawn from a range that goes by one name. In these three a family lies on one side;
* icon_sets: which set an icon is from, among the largest set of each of the 20 largest families; a concept lies on one side;
* flags: the region (UN M49, as CLDR has it) of a country, drawn by four sets; a country lies on one side.
"""

from __future__ import annotations

import argparse
import colorsys
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from glyph_tasks import Drawn, deal_groups, deal_houses, write_if_large
from icon_tasks import CITATION, LICENCE
from other_tasks import Groups
from PIL import Image
from render import draw
from sets import concept_of, family_of, load_set, usable_sets
from split import deal_families
from task_files import SIZE, on_white
from tqdm import tqdm

PER_FAMILY = 3  # icons per class and family
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
ANGLES = [0, 45, 90, 135, 180, 225, 270, 315]
UPRIGHT = frozenset({
    "bell", "bottle", "bulb", "bus", "car", "cart", "chair", "cup", "flag", "home", "house", "lamp", "lightbulb", "light bulb",
    "medal", "microphone", "mic", "mug", "plant", "shop", "shopping cart", "store", "thumbs up", "thumb up",
    "train", "trash", "tree", "trophy", "truck", "umbrella", "user", "wine", "wine glass",
})  # fmt: skip
# Ranges of hue (degrees), saturation and value; Berlin and Kay's basic terms without white, and turquoise.
COLOURS = {
    "black": ((0, 360), (0, 0.2), (0, 0.12)), "blue": ((212, 240), (0.7, 1), (0.6, 0.95)),
    "brown": ((18, 32), (0.6, 0.85), (0.35, 0.5)), "green": ((95, 145), (0.6, 1), (0.45, 0.8)),
    "grey": ((0, 360), (0, 0.08), (0.4, 0.65)), "orange": ((22, 36), (0.85, 1), (0.9, 1)),
    "pink": ((325, 345), (0.35, 0.6), (0.95, 1)), "purple": ((268, 290), (0.55, 0.9), (0.5, 0.8)),
    "red": ((-8, 8), (0.8, 1), (0.7, 0.95)), "turquoise": ((172, 186), (0.6, 0.9), (0.6, 0.85)),
    "yellow": ((50, 60), (0.8, 1), (0.9, 1)),
}  # fmt: skip
FLAG_SETS = ("cif", "circle-flags", "flag", "flagpack")
REGIONS = {
    "015": "northern Africa", "011": "western Africa", "017": "central Africa", "014": "eastern Africa", "018": "southern Africa",
    "021": "North America", "029": "the Caribbean", "013": "Central America", "005": "South America", "143": "central Asia",
    "030": "eastern Asia", "035": "southeast Asia", "034": "southern Asia", "145": "western Asia", "151": "eastern Europe",
    "154": "northern Europe", "039": "southern Europe", "155": "western Europe", "053": "Australia", "054": "Melanesia",
    "057": "Micronesia", "061": "Polynesia",
}  # fmt: skip
Change = Callable[[np.ndarray, str, random.Random], np.ndarray]  # coverage, class, generator -> picture [64, 64, 3]
Names = dict[str, list[tuple[str, str]]]  # family -> (set, name) of its icons


def plain_icons(icons: Path) -> Names:
    """The visible icons of the held-out sets of one colour."""
    sets = usable_sets(icons)
    held_out, found = set(deal_families(sets)["held_out"]), defaultdict(list)
    for prefix, info in sets.items():
        if family_of(prefix) in held_out and not info.get("palette"):
            drawings = load_set(icons, prefix)["icons"]
            found[family_of(prefix)] += [(prefix, name) for name in sorted(drawings) if not drawings[name].get("hidden")]
    return found


def coverage(icons: Path, prefix: str, name: str) -> np.ndarray | None:
    """How much of each pixel an icon covers, uint8 [64, 64]; None where it cannot be drawn or is all but empty."""
    drawn = draw(load_set(icons, prefix), name)
    return None if drawn is None or drawn[..., 3].mean() < 8 else drawn[..., 3]


def paint(icon: np.ndarray, label: str, rng: random.Random) -> np.ndarray:
    """The icon in a colour of that name, on white."""
    hue, saturation, value = (rng.uniform(*bounds) for bounds in COLOURS[label])
    rgb = np.array(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value)) * 255
    return on_white(np.dstack([np.broadcast_to(rgb, (SIZE, SIZE, 3)), icon]))


def turn(icon: np.ndarray, label: str, rng: random.Random) -> np.ndarray:
    """The icon, small enough to keep its corners, turned clockwise."""
    sheet = Image.new("L", (SIZE, SIZE))
    sheet.paste(Image.fromarray(icon).resize((44, 44), Image.Resampling.BOX), (10, 10))
    angle = int(label.removesuffix(" degrees")) + rng.uniform(-8, 8)
    return on_white(np.asarray(sheet.rotate(-angle, Image.Resampling.BICUBIC)))


def repeat(icon: np.ndarray, label: str, rng: random.Random) -> np.ndarray:
    """As many copies of the icon as the label says, none touching another."""
    sheet, size = Image.new("L", (SIZE, SIZE)), rng.randint(15, 19)
    small = Image.fromarray(icon).resize((size, size), Image.Resampling.BOX)
    for cell in rng.sample(range(9), NUMBERS.index(label) + 1):
        row, column = divmod(cell, 3)
        sheet.paste(small, (21 * column + rng.randint(0, 21 - size), 21 * row + rng.randint(0, 21 - size)))
    return on_white(np.asarray(sheet))


def changed(task: str, icons: Path, names: Names, labels: list[str], change: Change) -> Drawn:
    """Class -> family -> at most 3 icons changed as the class says; no icon is in the task twice."""
    drawn: Drawn = {label: defaultdict(list) for label in labels}
    for family, members in tqdm(sorted(names.items()), desc=task, unit="family"):
        rng = random.Random(f"{task}/{family}")
        order = sorted(rng.sample(members, min(len(members), 2 * PER_FAMILY * len(labels))))  # a set's icons one after another
        pictures = ((prefix, name, icon) for prefix, name in order if (icon := coverage(icons, prefix, name)) is not None)
        for number, (prefix, name, icon) in zip(range(PER_FAMILY * len(labels)), pictures, strict=False):
            label = labels[number % len(labels)]
            key = f"{prefix}/{name}/{label}.png"
            drawn[label][family].append((key, change(icon, label, random.Random(key))))
    return drawn


def hands(icons: Path, names: Names) -> Drawn:
    """Set, by its title -> concept -> its icon with the shortest name, for 120 concepts that at least 4 of the sets have."""
    largest = {family: Counter(prefix for prefix, _ in members).most_common(1)[0] for family, members in names.items()}
    prefixes = sorted(prefix for prefix, _ in sorted(largest.values(), key=lambda item: (-item[1], item[0]))[:20])
    titles, members = usable_sets(icons), {prefix: {} for prefix in prefixes}
    for prefix, name in sorted((item for group in names.values() for item in group), key=lambda item: (len(item[1]), item)):
        if prefix in members:
            members[prefix].setdefault(concept_of(name), name)
    common = Counter(concept for found in members.values() for concept in found)
    drawn: Drawn = {}
    for prefix, found in tqdm(members.items(), desc="icon_sets", unit="set"):
        concepts = sorted(concept for concept in found if common[concept] >= 4)
        random.Random(f"icon_sets/{prefix}").shuffle(concepts)
        pictures = {concept: coverage(icons, prefix, found[concept]) for concept in concepts[:120]}
        drawn[titles[prefix]["name"]] = {
            concept: [(f"{prefix}/{found[concept]}.png", on_white(icon))] for concept, icon in pictures.items() if icon is not None
        }
    return drawn


def flags(icons: Path, cldr: Path) -> dict[str, Groups]:
    """Region -> country -> its flag by the four sets."""
    contained = json.loads((cldr / "supplemental" / "territoryContainment.json").read_text())["supplemental"][
        "territoryContainment"
    ]
    region_of = {country.lower(): name for code, name in REGIONS.items() for country in contained[code]["_contains"]}
    classes: dict[str, Groups] = {name: defaultdict(list) for name in REGIONS.values()}
    for prefix in FLAG_SETS:
        data = load_set(icons, prefix)
        for name in sorted(data["icons"]):
            country = re.fullmatch(r"([a-z]{2})(-4x3|-1x1)?", name)
            if country and country[1] in region_of and (pixels := draw(data, name)) is not None:
                classes[region_of[country[1]]][country[1]].append((f"{prefix}/{name}.png", on_white(pixels)))
    return classes


def main() -> None:
    """Build the five tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icons", type=Path, required=True)
    parser.add_argument("--cldr", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--datasets", type=Path, required=True)
    args = parser.parse_args()
    names = plain_icons(args.icons)
    upright = {family: [item for item in members if concept_of(item[1]) in UPRIGHT] for family, members in names.items()}
    for name, title, template, labels, change, pool in (
        ("icon_colour", "Icons by colour", "an icon in the colour {}.", list(COLOURS), paint, names),
        ("icon_count", "Icons by number", "an icon with a count of {}.", NUMBERS, repeat, names),
        ("icon_rotation", "Icons by turn", "an icon turned by {}.", [f"{angle} degrees" for angle in ANGLES], turn, upright),
    ):
        dealt = deal_houses(name, changed(name, args.icons, pool, labels, change))
        write_if_large(args, name, title, template, dealt, LICENCE, CITATION)
    drawn = deal_houses("icon_sets", hands(args.icons, names))
    write_if_large(args, "icon_sets", "Icons by set", "an icon from the set {}.", drawn, LICENCE, CITATION)
    dealt = deal_groups("flags", flags(args.icons, args.cldr))
    write_if_large(args, "flags", "Flags by region", "an icon of a flag from {}.", dealt, LICENCE, CITATION)


if __name__ == "__main__":
    main()
