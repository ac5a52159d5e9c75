"""Datasets that are plain folders: one per class, or train, val and test with one per class in each."""

import random
from collections.abc import Callable, Sized
from pathlib import Path

from bench.data.cards import Card, prompt_name
from bench.data.splits import Item, Split
from bench.errors import BenchError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
# What people call the parts.
PARTS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
PART_OF = {name: part for part, names in PARTS.items() for name in names}


def folders_of(root: Path) -> list[str]:
    """The names of the folders in a folder, sorted; hidden ones are none.

    Raises:
        BenchError: It does not exist.
    """
    if not root.is_dir():
        raise BenchError(f"folder {root} does not exist.", "Run `bench doctor` to see which files a dataset needs.")
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def images_of(folder: Path) -> list[str]:
    """The names of the images in a folder, sorted; hidden files are none."""
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES and not entry.name.startswith("."))


def parts_of(folder: Path, held: Callable[[Path], Sized] = folders_of) -> dict[str, Path]:
    """The folders of train, val and test, as far as they are there; {} where a folder holds no parts, but class folders.

    Args:
        folder: Where they are looked for.
        held: What makes a folder of such a name a part: that it holds folders, by default.

    Raises:
        BenchError: A part is there under two names, or train is missing beside another part.
    """
    found = {
        part: [folder / name for name in names if (folder / name).is_dir() and len(held(folder / name))]
        for part, names in PARTS.items()
    }
    for part, paths in found.items():
        if len(paths) > 1:
            raise BenchError(f"{folder} holds {' and '.join(path.name for path in paths)}, both {part}.", "Keep one of them.")
    if any(found.values()) and not found["train"]:
        others = " and ".join(paths[0].name for paths in found.values() if paths)
        hint = "Add train/…, or give a folder that holds one folder per class: it is parted for you."
        raise BenchError(f"{folder} holds {others} but no train.", hint)
    return {part: paths[0] for part, paths in found.items() if paths}


def _letters(name: str) -> str:
    """A name as it is compared: "AnnualCrop" is "annual crop", and "sea_lake" is "Sea Lake"."""
    return "".join(filter(str.isalnum, name)).casefold() or name


def check_classes(card: Card, found: list[str], where: str) -> None:
    """Whether a source calls the classes as the card does, in the same order; case, blanks and hyphens do not matter.

    Raises:
        BenchError: It does not; shows both.
    """
    if len(found) != len(card.classes):
        raise BenchError(f"{where} has {len(found)} classes, the card {len(card.classes)}.", "Give the data of this card.")
    for label, (theirs, ours) in enumerate(zip(found, card.classes, strict=True)):
        if _letters(theirs) != _letters(ours):
            raise BenchError(
                f"{where} calls class {label} '{theirs}', the card '{ours}'.",
                "Give the data of this card, or correct the order and names of the card's classes.",
            )


def with_test(split: Split, share: float, where: Path) -> Split:
    """A split whose test part, where it has none, is a share of the training images of each class, drawn with a fixed seed.

    Of n images in the order of their paths, `random.Random(0)` draws round(share · n), at least one and at most n - 1.

    Args:
        split: The split.
        share: What to draw; 0: a split without test images is refused.
        where: What sentences name.

    Raises:
        BenchError: It has no test part and none is to be made, or has one that would have to be made.
    """
    if split.test and share:
        raise BenchError(f"{where} has {len(split.test)} test images; none are to be made of others.", "Leave --make-test away.")
    if split.test:
        return split
    if not share:
        there = " and ".join(f"{len(items)} {part}" for part, items in split._asdict().items() if items)
        hint = "Add the test part, or have a share of each class's training images drawn for it: --make-test 0.3."
        raise BenchError(f"{where} has no test part, only {there} images." if there else f"{where} has no images.", hint)
    rng, drawn = random.Random(0), set()  # noqa: S311 - a fixed order, no secret
    for label in sorted({item.label for item in split.train}):
        members = sorted(item for item in split.train if item.label == label)
        drawn |= set(rng.sample(members, min(max(1, round(share * len(members))), len(members) - 1)))
    return Split([item for item in split.train if item not in drawn], split.val, [i for i in split.train if i in drawn])


def read_folders(card: Card, images: Path, split: Path) -> Split:
    """Class folders: `{train,val,test}/<class>/*`, or `<class>/*`, of which half train, a fifth validate and the rest test.

    The parts of plain class folders are drawn with a fixed seed from the sorted file names, class by class, in the shares of
    CoOp's own splits.
    """
    del split
    label_of = {prompt_name(name): label for label, name in enumerate(card.classes)}

    def items(root: Path, prefix: str) -> list[list[Item]]:
        names = folders_of(root)
        if odd := sorted({prompt_name(name) for name in names} ^ set(label_of)):
            raise BenchError(f"{root} and the card do not have the same classes; '{odd[0]}' is in one only.", "Correct the card.")
        return [[Item(f"{prefix}{n}/{file}", label_of[prompt_name(n)]) for file in images_of(root / n)] for n in names]

    if parts := parts_of(images):
        read = {part: [item for members in items(root, f"{root.name}/") for item in members] for part, root in parts.items()}
        return Split(read["train"], read.get("val", []), read.get("test", []))
    found = Split([], [], [])
    for members in items(images, ""):
        if len(members) < 3:
            raise BenchError(
                f"{images} has a class of {len(members)} images.", "Train, validation and test take one image each at least."
            )
        random.Random(0).shuffle(members)  # noqa: S311 - a fixed order, no secret
        train = max(1, round(0.5 * len(members)))
        val = max(1, round(0.2 * len(members)))
        found.train.extend(members[:train])
        found.val.extend(members[train : train + val])
        found.test.extend(members[train + val :])
    return found
