"""Datasets that are plain folders: one per class, or train, val and test with one per class in each."""

import json
import random
from pathlib import Path

from bench.data.cards import Card, load_card, parse_card, prompt_name
from bench.data.splits import Item, Split
from bench.errors import BenchError
from bench.files import is_utf8, resolved
from bench.paths import datasets_root, features_root

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
# What people call the parts.
PARTS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


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


def parts_of(folder: Path) -> dict[str, Path]:
    """The folders of train, val (where there is one) and test; {} where a folder holds class folders.

    Raises:
        BenchError: A part is there under two names, or train or test is missing beside another part.
    """
    found = {
        part: [folder / name for name in names if (folder / name).is_dir() and folders_of(folder / name)]
        for part, names in PARTS.items()
    }
    if not any(found.values()):
        return {}
    for part, paths in found.items():
        if len(paths) > 1:
            raise BenchError(f"{folder} holds {' and '.join(path.name for path in paths)}, both {part}.", "Keep one of them.")
        if not paths and part != "val":
            others = " and ".join(paths[0].name for paths in found.values() if paths)
            raise BenchError(
                f"{folder} holds {others} but no {part}.",
                f"Add {part}/<class>/…, or give a folder that holds one folder per class: it is parted for you.",
            )
    return {part: paths[0] for part, paths in found.items() if paths}


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
        return Split(read["train"], read.get("val", []), read["test"])
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


def left_out(images: Path, split: Split) -> dict[str, str]:
    """The files below a dataset's folder that are in no part, and why; hidden ones are not told."""
    used = {item.path for part in split for item in part}
    found = {}
    for path in sorted(images.rglob("*")):
        name = path.relative_to(images).as_posix()
        if path.is_file() and name not in used and not any(part.startswith(".") for part in name.split("/")):
            known = path.suffix.lower() in SUFFIXES
            found[name] = "not directly in a class folder" if known else f"not an image by its ending (known: {' '.join(SUFFIXES)})"
    return found


def folder_card(folder: Path, name: str, template: str) -> tuple[Card, str]:
    """The card of a folder of class folders, or of one that holds train, val and test; nothing is written.

    Args:
        folder: `<class>/*`, or `{train,val,test}/<class>/*`. Class names are the sorted folder names.
        name: What the dataset is called.
        template: The zero-shot prompt, with {} for the class name.

    Returns:
        The card, and its text as TOML.

    Raises:
        BenchError: There are no class folders, or the name is taken by another dataset.
    """
    folder = resolved(folder)
    if not folder.is_dir():
        raise BenchError(f"folder {folder} does not exist.", "Give a folder that holds one folder of images per class.")
    top = parts_of(folder).get("train", folder)
    classes = folders_of(top)
    if len(classes) < 2:
        raise BenchError(f"{top} holds {len(classes)} class folders.", "Put the images of each class into a folder named after it.")
    if odd := [entry for entry in classes if not is_utf8(entry)]:
        raise BenchError(f"the name of the class folder {odd[0]!r} in {top} is not UTF-8.", "Rename the folder.")
    if (datasets_root() / f"{name}.toml").is_file():
        raise BenchError(f"a shipped dataset is called '{name}' already.", "Give another name with --name.")
    values = {"name": name, "title": f"Images of {folder.name}", "templates": [template], "classes": classes}
    source = {"format": "folders", "images": str(folder), "split": ""}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in (*values.items(), *source.items())]
    text = "".join([*lines[: len(values)], "\n[source]\n", *lines[len(values) :]])
    card = parse_card(text, Path(f"of '{name}'"))
    path = features_root() / name / "card.toml"
    # The folder may have been moved since: where it lies, and what it is called there, is not what the dataset is.
    if path.is_file() and load_card(name).model_copy(update={"source": card.source, "title": card.title}) != card:
        raise BenchError(f"another dataset is called '{name}' already ({path}).", "Give another name with --name.")
    return card, text
