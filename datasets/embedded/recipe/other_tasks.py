"""Step 5: the tasks outside the icons, fixed beforehand, where zero-shot is weak and tuning has much to learn.

    python other_tasks.py --icons PACKAGE --work DIR --datasets DATASETS_FOLDER

Needs Debian's packages `dataset-fashion-mnist`, `unicode-data` and the fonts in fonts.txt, and scikit-learn.
* digits: scikit-learn's handwritten digits (8 x 8), dark on light as the icons are.
* fashion_mnist: train and validation from its training split, test from its test split.
* letters: A to Z; all fonts of one Debian package on one side, at most two (regular and bold) per package.
* writing_systems: single letters of the 20 scripts that have most of them; a letter's sans and serif forms lie on one side.
* emoji: Unicode's subgroups, drawn by the held-out vendors; all drawings of one emoji lie on one side.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import random
import re
import subprocess
import unicodedata
from collections import defaultdict
from pathlib import Path

import numpy as np
from icon_tasks import CITATION, LICENCE, NEAR
from PIL import Image, ImageDraw, ImageFont
from sets import family_of, load_set, usable_sets
from sklearn.datasets import load_digits
from split import deal_families
from task_files import SIZE, Picture, on_white, write_task

TRAIN, VAL, TEST = 24, 6, 40  # pictures per class at most
Groups = dict[str, list[tuple[str, np.ndarray]]]  # pictures (key, pixels) that have to lie on one side, by name
FASHION = Path("/usr/share/datasets/fashion-mnist")
EMOJI_TEST = Path("/usr/share/unicode/emoji/emoji-test.txt")
FASHION_CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
SCRIPTS = [
    "Arabic", "Armenian", "Bengali", "Cherokee", "Coptic", "Devanagari", "Ethiopic", "Georgian", "Glagolitic", "Gujarati",
    "Gurmukhi", "Hebrew", "Javanese", "Kannada", "Khmer", "Lao", "Lisu", "Malayalam", "Mongolian", "Myanmar", "Ogham",
    "Oriya", "Runic", "Sinhala", "Syriac", "Tamil", "Telugu", "Thai", "Thaana", "Tibetan", "Tifinagh", "Vai", "Yi",
]  # fmt: skip


class Seen:
    """Remembers a task's thumbnails, to leave out every picture that is nearly the same as an earlier one of another group."""

    def __init__(self) -> None:
        self.thumbs, self.owners = np.empty((0, 256), np.float32), np.empty(0, dtype=object)

    def is_new(self, pixels: np.ndarray, owner: str) -> bool:
        """Whether no other group has nearly this picture; remembers it if so."""
        thumb = pixels.mean(-1).reshape(16, 4, 16, 4).mean((1, 3)).reshape(1, 256).astype(np.float32) / 255
        if ((np.abs(self.thumbs - thumb).mean(-1) < NEAR) & (self.owners != owner)).any():
            return False
        self.thumbs, self.owners = np.concatenate([self.thumbs, thumb]), np.append(self.owners, owner)
        return True


def deal(groups: Groups, label: int, seed: str, seen: Seen, test: int = TEST) -> list[Picture]:
    """Whole groups to val, train and test in a seeded order, up to each side's size."""
    groups = {
        name: [(key, pixels) for key, pixels in groups[name] if seen.is_new(pixels, f"{label}/{name}")] for name in sorted(groups)
    }
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    sizes, limits, pictures = {"val": 0, "train": 0, "test": 0}, {"val": VAL, "train": TRAIN, "test": test}, []
    for name in names:
        side = next((side for side in ("val", "train", "test") if sizes[side] < limits[side]), None)
        if side is None:
            break
        room = groups[name][: limits[side] - sizes[side]]
        sizes[side] += len(room)
        pictures += [Picture(key, side, label, pixels) for key, pixels in room]
    return pictures


def enlarge(grey: np.ndarray) -> np.ndarray:
    """A small grey picture as 64 x 64 RGB."""
    return np.asarray(Image.fromarray(grey).resize((SIZE, SIZE), Image.Resampling.BICUBIC).convert("RGB"))


def digits() -> list[Picture]:
    """scikit-learn's digits; every picture is a group of its own."""
    data, seen = load_digits(), Seen()
    pictures = []
    for label in range(10):
        rows = np.flatnonzero(data.target == label)
        groups = {
            f"{row:04d}": [(f"digits/{row:04d}.png", enlarge((255 - data.images[row] / 16 * 255).astype(np.uint8)))] for row in rows
        }
        pictures += deal(groups, label, f"digits/{label}", seen, test=80)
    return pictures


def fashion() -> list[Picture]:
    """Fashion-MNIST: 24 + 6 per class of the training split, 80 of the test split."""
    pictures, seen = [], Seen()
    for part, limits in (("train", {"train": TRAIN, "val": VAL}), ("t10k", {"test": 80})):
        images = np.frombuffer(
            gzip.decompress((FASHION / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16
        ).reshape(-1, 28, 28)
        labels = np.frombuffer(gzip.decompress((FASHION / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
        for label in range(10):
            rows = np.flatnonzero(labels == label).tolist()
            random.Random(f"fashion/{part}/{label}").shuffle(rows)
            keyed = ((f"fashion-mnist/{part}/{row:05d}.png", enlarge(255 - images[row])) for row in rows)
            fresh = ((key, pixels) for key, pixels in keyed if seen.is_new(pixels, key))
            for side, count in limits.items():
                pictures += [Picture(key, side, label, pixels) for key, pixels in itertools.islice(fresh, count)]
    return pictures


def draw_glyph(font: Path, text: str, stroke: int = 0) -> np.ndarray | None:
    """One letter in black on white, fitted into the picture with a margin; None where it is blank. A stroke thickens its lines."""
    face = ImageFont.truetype(str(font), 96)
    left, top, right, bottom = face.getbbox(text, stroke_width=stroke)
    width, height = right - left, bottom - top
    if width < 4 or height < 4:
        return None
    image = Image.new("L", (max(width, height) + 24,) * 2, 255)
    corner = ((image.width - width) / 2 - left, (image.height - height) / 2 - top)
    ImageDraw.Draw(image).text(corner, text, fill=0, font=face, stroke_width=stroke)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX).convert("RGB"))


def fonts_of(package: str) -> list[Path]:
    """A Debian package's upright font files, the regular and the bold one first, each once."""
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=True).stdout.split("\n")
    fonts = [
        line
        for line in listed
        if re.search(r"\.(ttf|otf)$", line, re.IGNORECASE) and not re.search("italic|oblique|slanted", line, re.IGNORECASE)
    ]
    by_name = {Path(line).stem: Path(line) for line in sorted(fonts)}
    return sorted(
        by_name.values(), key=lambda path: ("Regular" not in path.stem, "Bold" not in path.stem, len(path.stem), path.stem)
    )


def letters() -> list[Picture]:
    """A to Z; the same packages are on the same side for every letter."""
    packages = [
        line
        for line in (Path(__file__).parent / "fonts.txt").read_text().split("\n")
        if line and line[0] != "#" and not line.startswith("fonts-noto")
    ]
    pictures, seen = [], Seen()
    for label in range(26):
        letter = chr(ord("A") + label)
        groups: Groups = {}
        for package in packages:
            drawn = [(f"letters/{font.name}/{letter}.png", draw_glyph(font, letter)) for font in fonts_of(package)[:2]]
            groups[package] = [(key, pixels) for key, pixels in drawn if pixels is not None]
        pictures += deal(groups, label, "letters", seen)
    return pictures


def letters_of(script: str) -> Groups:
    """The letters of a script (what Unicode names so) in Noto's sans and serif fonts."""
    folder = Path("/usr/share/fonts/truetype/noto")
    fonts = [path for style in ("Sans", "Serif") if (path := folder / f"Noto{style}{script}-Regular.ttf").exists()]
    groups: Groups = {}
    for point in map(chr, range(0x100, 0x10000)):
        name = unicodedata.name(point, "")
        if not (
            name.startswith(f"{script.upper()} ")
            and unicodedata.category(point) in {"Lo", "Lu"}
            and re.search(" LETTER | SYLLABLE ", name)
        ):
            continue
        drawn = [
            (f"writing-systems/{font.name}/{ord(point):04x}.png", draw_glyph(font, point))
            for font in fonts
            if has_glyph(font, point)
        ]
        groups[f"{ord(point):04x}"] = [(key, pixels) for key, pixels in drawn if pixels is not None]
    return groups


def writing_systems() -> tuple[list[str], list[Picture]]:
    """Letters of the 20 scripts that have the most."""
    drawn = {script: letters_of(script) for script in SCRIPTS}
    classes = sorted(sorted(SCRIPTS, key=lambda script: (-sum(map(len, drawn[script].values())), script))[:20])
    seen = Seen()
    return classes, [
        picture for label, script in enumerate(classes) for picture in deal(drawn[script], label, f"writing/{script}", seen)
    ]


def has_glyph(font: Path, point: str, _known: dict[Path, set[int]] = {}) -> bool:  # noqa: B006 - a cache on purpose
    """Whether a font has a glyph of its own for a character."""
    if font not in _known:
        from fontTools.ttLib import TTFont

        _known[font] = set(TTFont(font).getBestCmap())
    return ord(point) in _known[font]


def emoji_subgroups() -> dict[str, str]:
    """Emoji name, as iconify spells it -> Unicode subgroup; without skin tones."""
    subgroup, found = "", {}
    for line in EMOJI_TEST.read_text(encoding="utf-8").split("\n"):
        if line.startswith("# subgroup:"):
            subgroup = line.partition(":")[2].strip()
        elif "; fully-qualified" in line and "skin tone" not in line:
            name = line.split("# ", 1)[1].split(" ", 2)[2]
            found[re.sub(r"[^a-z0-9]+", "-", name.lower().replace("’", "")).strip("-")] = subgroup
    return found


def emoji(icons: Path, work: Path) -> tuple[list[str], list[Picture]]:
    """Subgroups with enough emoji; classes are the subgroups' names in words."""
    subgroups, sets = emoji_subgroups(), usable_sets(icons)
    held_out = set(deal_families(sets)["held_out"])
    vendors = [
        p
        for p, info in sets.items()
        if info.get("category") == "Emoji" and info.get("palette") and family_of(p) in held_out and p != "streamline-emojis"
    ]
    groups: dict[str, Groups] = defaultdict(lambda: defaultdict(list))
    for prefix in vendors:
        data = load_set(icons, prefix)
        with np.load(work / "render" / f"{prefix}.npz") as drawn:
            for name, pixels in zip(drawn["names"].tolist(), drawn["pixels"], strict=True):
                if name in subgroups and not data["icons"][name].get("hidden"):
                    groups[subgroups[name]][name].append((f"{prefix}/{name}.png", on_white(pixels)))
    full = sorted(
        group for group, members in groups.items() if sum(map(len, members.values())) >= 48 and not group.startswith("country-flag")
    )
    chosen = sorted(sorted(full, key=lambda group: (-sum(map(len, groups[group].values())), group))[:20])
    seen = Seen()
    classes = [group.replace("-", " ") for group in chosen]
    pictures = [picture for label, group in enumerate(chosen) for picture in deal(groups[group], label, f"emoji/{group}", seen)]
    return classes, pictures


def main() -> None:
    """Build the five tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icons", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--datasets", type=Path, required=True)
    args = parser.parse_args()
    emoji_classes, emoji_pictures = emoji(args.icons, args.work)
    script_classes, script_pictures = writing_systems()
    numbers = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    fonts = "OFL, Apache, MIT or BSD, see embedded/ATTRIBUTION.md"
    uci = "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998; as in scikit-learn."
    zalando = "Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017."
    debian = "Fonts as packaged by Debian; authors in embedded/ATTRIBUTION.md."
    noto = "Noto fonts, The Noto Project Authors."
    alphabet = [chr(65 + i) for i in range(26)]
    tasks = [
        ("digits", "Handwritten digits", "an icon of the number {}.", numbers, digits(), "CC-BY-4.0", uci),
        ("fashion_mnist", "Fashion-MNIST", "an icon of a {}.", FASHION_CLASSES, fashion(), "MIT", zalando),
        ("letters", "Letters in many fonts", "an icon of the letter {}.", alphabet, letters(), fonts, debian),
        (
            "writing_systems",
            "Writing systems",
            "an icon of a letter in {} script.",
            script_classes,
            script_pictures,
            "OFL-1.1",
            noto,
        ),
        ("emoji", "Emoji by Unicode subgroup", "an icon of a {}.", emoji_classes, emoji_pictures, LICENCE, CITATION),
    ]
    for name, title, template, classes, pictures, licence, citation in tasks:
        write_task(
            args.datasets, args.work, name=name, title=title, domain="out", template=template, classes=classes, pictures=pictures,
            licence=licence, citation=citation,
        )  # fmt: skip
        sides = {side: sum(p.side == side for p in pictures) for side in ("train", "val", "test")}
        fewest = {side: min(sum(p.side == side and p.label == c for p in pictures) for c in range(len(classes))) for side in sides}
        print(f"{name}: {len(classes)} classes, {sides}, fewest per class {fewest}")


if __name__ == "__main__":
    main()
