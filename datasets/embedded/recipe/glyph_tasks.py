"""Step 5, continued: more tasks outside the icons, drawn by fonts: scripts, signs, music, hieroglyphs, characters by part.

    python glyph_tasks.py --fonts NPM_FOLDER --work DIR --datasets DATASETS_FOLDER

NPM_FOLDER holds the packages of npm.txt as `npm pack` gives them. Needs Debian's `unicode-data`, `fonts-noto-core`,
`fonts-noto-cjk` and the fonts in fonts.txt. Two ways to deal, both by counts alone and before any model has seen a picture:
* by house (greek_letters, hiragana, arabic_letters, math_signs, currency_signs, music_signs): a house is all fonts whose package
  begins with the same word; it lies on one side for every class of the task;
* by character (hieroglyphs, chinese_parts): all drawings of a character (and of its variants) lie on one side.
"""

from __future__ import annotations

import argparse
import bz2
import json
import random
import re
import tarfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from icon_tasks import CLASS_TEST
from icon_tasks import TRAIN as MIN_TRAIN
from icon_tasks import VAL as MIN_VAL
from other_tasks import TEST, TRAIN, VAL, Groups, Seen, deal, draw_glyph, fonts_of
from task_files import SIDES, Picture, write_task

MAX_CLASSES, MIN_CLASSES, MIN_TEST = 40, 8, 300
CAPS = {"train": TRAIN, "val": VAL, "test": TEST}
NOTO = Path("/usr/share/fonts")
HERE = Path(__file__).parent
Faces = dict[str, list[dict[int, Path]]]  # package -> its regular and its bold face, each as code point -> file
Drawn = dict[str, dict[str, list[tuple[str, np.ndarray]]]]  # class -> house -> pictures (key, pixels)

GREEK = {unicodedata.name(chr(p)).rpartition(" ")[2].lower(): chr(p) for p in range(0x3B1, 0x3CA) if p != 0x3C2}
HIRAGANA = {
    name.rpartition(" ")[2].lower(): chr(p)
    for p in range(0x3042, 0x3094)
    if re.fullmatch(r"HIRAGANA LETTER ([KSTNHMYRW]?[AIUEO]|N)", name := unicodedata.name(chr(p)))
}
ARABIC = {
    name.removeprefix("ARABIC LETTER ").lower(): chr(p)
    for p in (0x627, 0x628, *range(0x62A, 0x63B), *range(0x641, 0x649), 0x64A)
    if (name := unicodedata.name(chr(p)))
}
MATHS = {
    "plus": "+", "minus": "−", "multiplication": "×", "division": "÷", "equality": "=", "inequality": "≠", "approximation": "≈",
    "less than": "<", "greater than": ">", "less or equal": "≤", "greater or equal": "≥", "plus or minus": "±", "negation": "¬",
    "square root": "√", "infinity": "∞", "integral": "∫", "sum": "∑", "product": "∏", "partial derivative": "∂", "percent": "%",
    "per mille": "‰", "degree": "°", "pi": "π", "difference": "∆", "element": "∈", "empty set": "∅", "intersection": "∩",
    "identity": "≡",
}  # fmt: skip
CURRENCIES = {
    "dollar": "$", "cent": "¢", "pound": "£", "yen": "¥", "euro": "€", "florin": "ƒ", "bitcoin": "₿", "rupee": "₹", "ruble": "₽",
    "won": "₩", "shekel": "₪", "dong": "₫", "naira": "₦", "peso": "₱", "colon": "₡", "lira": "₺", "hryvnia": "₴", "tenge": "₸",
    "guarani": "₲", "cedi": "₵", "kip": "₭", "tugrik": "₮", "any currency": "¤", "franc": "₣",
}  # fmt: skip
# Ranges of the Standard Music Font Layout (SMuFL 1.4); some are joined.
MUSIC = {
    "bracket": (0xE000, 0xE00F), "bar line": (0xE030, 0xE03F), "repeat": (0xE040, 0xE04F), "clef": (0xE050, 0xE07F),
    "time signature": (0xE080, 0xE09F), "note head": (0xE0A0, 0xE0FF), "note": (0xE1D0, 0xE1EF), "tremolo": (0xE220, 0xE23F),
    "note flag": (0xE240, 0xE25F), "accidental": (0xE260, 0xE2FF), "articulation": (0xE4A0, 0xE4BF), "pause": (0xE4C0, 0xE4DF),
    "rest": (0xE4E0, 0xE4FF), "octave": (0xE510, 0xE51F), "dynamic": (0xE520, 0xE54F), "ornament": (0xE560, 0xE5AF),
    "brass technique": (0xE5D0, 0xE5EF), "string technique": (0xE610, 0xE62F), "pedal": (0xE650, 0xE67F),
    "percussion": (0xE6A0, 0xE7FF), "tuplet": (0xE880, 0xE88F),
}  # fmt: skip
# The categories of Gardiner's sign list, which the Unicode names carry as a letter.
GARDINER = {
    "A": "man", "B": "woman", "C": "god", "D": "part of the body", "E": "mammal", "F": "part of a mammal", "G": "bird",
    "H": "part of a bird", "I": "reptile", "K": "fish", "L": "insect", "M": "plant", "N": "sky earth or water", "O": "building",
    "P": "ship", "Q": "furniture", "R": "temple", "S": "crown or staff", "T": "weapon", "U": "farm tool", "V": "rope or basket",
    "W": "vessel", "X": "bread", "Y": "writing or game", "Z": "stroke",
}  # fmt: skip


def npm_packages() -> dict[str, list[str]]:
    """The packages of npm.txt (name@version), each with its tasks."""
    lines = (line.split() for line in (HERE / "npm.txt").read_text(encoding="utf-8").splitlines() if line and line[0] != "#")
    return {package: tasks for package, *tasks in lines}


def unpacked(folder: Path, package: str, wanted: str) -> list[Path]:
    """The files of a packed npm package (name@version) whose names match; unpacked beside it the first time."""
    stem = package.removeprefix("@").replace("/", "-").replace("@", "-")
    home = folder / "unpacked" / stem
    if not home.exists():
        with tarfile.open(folder / f"{stem}.tgz") as packed:
            packed.extractall(home, filter="data")
    return sorted(path for path in (home / "package").rglob("*") if re.search(wanted, path.name))


def mentions(ranges: str, points: set[int]) -> bool:
    """Whether ranges as CSS writes them ("U+3041-3096,U+30fb") hold one of the code points."""
    ends = [part.strip().removeprefix("U+").split("-") for part in ranges.split(",")]
    return any(int(first[0], 16) <= point <= int(first[-1], 16) for first in ends for point in points)


def npm_faces(folder: Path, task: str, characters: dict[str, str]) -> Faces:
    """The regular and the bold face, where there are such, of each Fontsource package of a task."""
    faces: Faces = {}
    points = set(map(ord, characters.values()))
    for package in (p for p, tasks in npm_packages().items() if task in tasks):
        name = package.split("/")[1].rpartition("@")[0]
        ranges = json.loads(unpacked(folder, package, r"^unicode\.json$")[0].read_text(encoding="utf-8"))
        files: dict[int, dict[int, Path]] = defaultdict(dict)
        for path in unpacked(folder, package, r"-\d+-normal\.woff2$"):
            subset, weight = path.name.removeprefix(f"{name}-").removesuffix("-normal.woff2").rsplit("-", 1)
            if int(weight) in (400, 700) and mentions(ranges.get(f"[{subset}]", ranges.get(subset, "U+0")), points):
                files[int(weight)] |= dict.fromkeys(TTFont(path).getBestCmap(), path)
        faces[name] = [files[weight] for weight in sorted(files)]
    return faces


def debian_faces() -> Faces:
    """The first two faces of the Debian packages of fonts.txt that draw the letters."""
    packages = [line for line in (HERE / "fonts.txt").read_text().splitlines() if line.startswith("fonts-")]
    return {
        package.removeprefix("fonts-"): [dict.fromkeys(TTFont(path).getBestCmap(), path) for path in fonts_of(package)[:2]]
        for package in packages
        if package not in {"fonts-noto-core", "fonts-noto-cjk"}
    }


def draw_characters(task: str, characters: dict[str, str], faces: Faces) -> Drawn:
    """Class -> house -> its drawings of the class's character."""
    drawn: Drawn = {label: defaultdict(list) for label in characters}
    for package, files in faces.items():
        for number, face in enumerate(files):
            for label, character in characters.items():
                if (path := face.get(ord(character))) and (pixels := draw_glyph(path, character)) is not None:
                    weight = ("regular", "bold")[number]
                    drawn[label][package.split("-")[0]].append((f"{task}/{package}-{weight}/{label}.png", pixels))
    return drawn


def draw_music(folder: Path) -> Drawn:
    """Class -> music font -> at most 8 glyphs of the class's ranges, in a seeded order."""
    drawn: Drawn = {label: {} for label in MUSIC}
    for package in (p for p, tasks in npm_packages().items() if "music_signs" in tasks):
        path, font = unpacked(folder, package, r"\.otf$")[0], package.split("/")[1].rpartition("@")[0]
        known = sorted(TTFont(path).getBestCmap())
        for label, (first, last) in MUSIC.items():
            points = [point for point in known if first <= point <= last]
            random.Random(f"music/{font}/{label}").shuffle(points)
            pictures = ((f"music_signs/{font}/{point:04x}.png", draw_glyph(path, chr(point))) for point in points)
            drawn[label][font] = [(key, pixels) for key, pixels in pictures if pixels is not None][:8]
    return drawn


def deal_houses(task: str, drawn: Drawn) -> tuple[list[str], list[Picture]]:
    """Every house on one side for all classes: an eighth to val, a half of the rest to train, the others to test."""
    houses = sorted({house for groups in drawn.values() for house in groups})
    random.Random(task).shuffle(houses)
    first, second = max(2, round(len(houses) / 8)), round(len(houses) * 9 / 16)
    side_of = {house: "val" if n < first else "train" if n < second else "test" for n, house in enumerate(houses)}
    seen, pictures = Seen(), []
    for label, groups in enumerate(drawn.values()):
        room = Counter(CAPS)
        # The first picture of every house, then the second of every house, …: as many houses as there is room for.
        turns = [(rank, house) for house in houses for rank in range(len(groups.get(house, ())))]
        for rank, house in sorted(turns, key=lambda turn: turn[0]):
            key, pixels = groups[house][rank]
            if room[side_of[house]] and seen.is_new(pixels, f"{label}/{house}"):
                pictures.append(Picture(key, side_of[house], label, pixels))
                room[side_of[house]] -= 1
    return keep_full(list(drawn), pictures)


def keep_full(labels: list[str], pictures: list[Picture], most: int = MAX_CLASSES) -> tuple[list[str], list[Picture]]:
    """The fullest classes, at most `most`, among those that have enough pictures on every side."""
    have = Counter((picture.label, picture.side) for picture in pictures)
    least = {"train": MIN_TRAIN, "val": MIN_VAL, "test": CLASS_TEST}
    full = [n for n in range(len(labels)) if all(have[n, side] >= least[side] for side in SIDES)]
    kept = sorted(sorted(full, key=lambda n: (-sum(have[n, side] for side in SIDES), n))[:most])
    number = {old: new for new, old in enumerate(kept)}
    pictures = [Picture(p.key, p.side, number[p.label], p.pixels) for p in pictures if p.label in number]
    return [labels[n] for n in kept], pictures


def deal_groups(task: str, classes: dict[str, Groups], test: int = TEST) -> tuple[list[str], list[Picture]]:
    """Every group (a character, a country) on one side; of more than 20 classes the fullest stay."""
    seen = Seen()
    pictures = [
        picture
        for label, (name, groups) in enumerate(classes.items())
        for picture in deal(groups, label, f"{task}/{name}", seen, test)
    ]
    return keep_full(list(classes), pictures, 20)


def hieroglyphs() -> dict[str, Groups]:
    """Category -> sign -> its drawing and those of its variants (A5 and A5A are one group), in Noto's font.

    Its hairlines are thickened: at 32 x 32 pixels little is left of them, and every thumbnail is near every other.
    """
    font = NOTO / "truetype/noto/NotoSansEgyptianHieroglyphs-Regular.ttf"
    classes: dict[str, Groups] = {name: defaultdict(list) for name in GARDINER.values()}
    for point in sorted(TTFont(font).getBestCmap()):
        sign = re.fullmatch(r"EGYPTIAN HIEROGLYPH (([A-Z])\d+)[A-Z]*", unicodedata.name(chr(point), ""))
        if sign and sign[2] in GARDINER and (pixels := draw_glyph(font, chr(point), stroke=2)) is not None:
            classes[GARDINER[sign[2]]][sign[1]].append((f"hieroglyphs/{point:05x}.png", pixels))
    return classes


def chinese_parts() -> dict[str, Groups]:
    """Radical, by its name in Unicode -> character -> its sans and serif drawing; characters of 1 to 6 further strokes."""
    fonts = [next((NOTO / "opentype/noto").glob(f"Noto{style}CJK-Regular.ttc")) for style in ("Sans", "Serif")]
    found: dict[int, list[int]] = defaultdict(list)
    with bz2.open("/usr/share/unicode/Unihan_IRGSources.txt.bz2", "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = re.match(r"U\+(\w{4})\tkRSUnicode\t(\d+)\.([1-6])\s", line)
            if entry and 0x4E00 <= int(entry[1], 16) <= 0x9FA5:  # the characters of Unicode 1
                found[int(entry[2])].append(int(entry[1], 16))
    fullest = sorted(sorted(found, key=lambda radical: (-len(found[radical]), radical))[:20])
    classes: dict[str, Groups] = {}
    for radical in fullest:
        points = found[radical]
        random.Random(f"chinese_parts/{radical}").shuffle(points)
        name = unicodedata.name(chr(0x2F00 + radical - 1)).removeprefix("KANGXI RADICAL ").lower()
        drawn = {
            f"{p:04x}": [(f"chinese_parts/{font.stem}/{p:04x}.png", draw_glyph(font, chr(p))) for font in fonts]
            for p in points[:60]
        }
        classes[name] = {p: [(key, pixels) for key, pixels in pair if pixels is not None] for p, pair in drawn.items()}
    return classes


def tasks(folder: Path) -> Iterable[tuple[str, str, str, tuple[list[str], list[Picture]]]]:
    """Name, title, template, and classes with pictures of every task."""
    for name, title, template, characters in (
        ("greek_letters", "Greek letters", "an icon of the Greek letter {}.", GREEK),
        ("hiragana", "Hiragana", "an icon of the Japanese letter {}.", HIRAGANA),
        ("arabic_letters", "Arabic letters", "an icon of the Arabic letter {}.", ARABIC),
    ):
        yield name, title, template, deal_houses(name, draw_characters(name, characters, npm_faces(folder, name, characters)))
    faces = debian_faces() | npm_faces(folder, "greek_letters", MATHS | CURRENCIES)
    for name, title, template, characters in (
        ("math_signs", "Mathematical signs", "an icon of the sign for {}.", MATHS),
        ("currency_signs", "Currency signs", "an icon of the currency {}.", CURRENCIES),
    ):
        yield name, title, template, deal_houses(name, draw_characters(name, characters, faces))
    music = deal_houses("music_signs", draw_music(folder))
    yield "music_signs", "Musical notation by kind of sign", "an icon of a musical {}.", music
    signs = deal_groups("hieroglyphs", hieroglyphs(), test=80)
    yield "hieroglyphs", "Egyptian hieroglyphs by what they show", "an icon of a {}.", signs
    parts = deal_groups("chinese_parts", chinese_parts())
    yield "chinese_parts", "Chinese characters by radical", "an icon of a Chinese character with the part {}.", parts


def write_if_large(
    args: argparse.Namespace,
    name: str,
    title: str,
    template: str,
    dealt: tuple[list[str], list[Picture]],
    licence: str,
    citation: str,
) -> None:
    """Write a task that has at least 8 classes and 300 test pictures, and say so."""
    classes, pictures = dealt
    sides = Counter(picture.side for picture in pictures)
    enough = len(classes) >= MIN_CLASSES and sides["test"] >= MIN_TEST
    print(f"{name}: {len(classes)} classes, {dict(sides)}{'' if enough else ': left out'}", flush=True)
    if enough:
        write_task(
            args.datasets, args.work, name=name, title=title, domain="out", template=template, classes=classes,
            pictures=pictures, licence=licence, citation=citation,
        )  # fmt: skip


def main() -> None:
    """Build the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fonts", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--datasets", type=Path, required=True)
    args = parser.parse_args()
    licence, citation = "OFL, Apache, MIT or BSD, see embedded/ATTRIBUTION.md", "Authors of the fonts in embedded/ATTRIBUTION.md."
    for name, title, template, dealt in tasks(args.fonts):
        write_if_large(args, name, title, template, dealt, licence, citation)


if __name__ == "__main__":
    main()
