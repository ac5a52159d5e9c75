"""What a user's folder is: which of the known layouts, what its classes are called, and which of its files are in no part."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.data.cards import NAME, Card, Format, load_card, parse_card
from bench.data.splits import Split
from bench.errors import BenchError
from bench.files import is_utf8, read_text, resolved, toml_text
from bench.paths import datasets_root, features_root
from bench.prepare.archives import imagenet_tars
from bench.prepare.csv_lists import csv_rows
from bench.prepare.folders import SUFFIXES, folders_of, images_of, parts_of
from bench.prepare.tables import class_names, shards_of

ARCHIVES: dict[str, tuple[str, ...]] = {"webdataset": (".tar",), "huggingface": (".parquet", ".arrow")}  # what holds the images
TEMPLATE = "a photo of a {}."
SHOWN = 4  # folders that a message names


class Layout(NamedTuple):
    """What a folder holds."""

    format: Format
    classes: list[str]
    templates: list[str]


def layout_of(folder: Path, table: Path | None) -> Layout:
    """The layout of a folder: a table of paths beside it, tar shards, parquet or Arrow shards, or class folders.

    Raises:
        BenchError: It is none of them, or its classes cannot be told.
    """
    if not folder.is_dir():
        raise BenchError(f"folder {folder} does not exist.", "Give a folder that holds one folder of images per class.")
    if table is not None:
        return Layout("csv", _csv_classes(table), [TEMPLATE])
    if parts_of(folder, lambda part: list(part.glob("*.tar"))):
        templates = _lines(folder / "zeroshot_classification_templates.txt")
        names = _lines(folder / "classnames.txt")
        if not names:
            raise BenchError(f"{folder} has tar shards but no classnames.txt.", "Write one class name per line, in label order.")
        return Layout("webdataset", names, [line.replace("{c}", "{}") for line in templates] or [TEMPLATE])
    if any(folder.rglob("*.parquet")) or any(folder.rglob("*.arrow")):
        return Layout("huggingface", class_names(shards_of(folder)), [TEMPLATE])
    top = parts_of(folder).get("train", folder)
    classes = folders_of(top)
    if len(classes) < 2:
        raise BenchError(f"{top} holds {len(classes)} class folders.", "Put the images of each class into a folder named after it.")
    if odd := [entry for entry in classes if not is_utf8(entry)]:
        raise BenchError(f"the name of the class folder {odd[0]!r} in {top} is not UTF-8.", "Rename the folder.")
    if not any(images_of(top / name) for name in classes):
        hint = "Images lie in them, not deeper; webdataset shards are called .tar: gunzip .tar.gz, and unpack .zip."
        raise BenchError(f"the folders {', '.join(classes[:SHOWN])} in {top} hold no images.", hint)
    return Layout("folders", classes, [TEMPLATE])


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path).split("\n") if line.strip()] if path.is_file() else []


def _csv_classes(table: Path) -> list[str]:
    names = {label for _, label, _ in csv_rows(table)}
    if all(name.isdecimal() for name in names):
        raise BenchError(f"{table} numbers its classes: what they are called is not said.", "Write a card that names them.")
    return sorted(names)


def folder_card(folder: Path, name: str, template: str = "", table: Path | None = None, make_test: float = 0.0) -> tuple[Card, str]:
    """The card of a folder in one of the known layouts; nothing is written.

    Args:
        folder: `<class>/*`, `{train,val,test}/<class>/*`, tar shards, or shards of a Hugging Face dataset.
        name: What the dataset is called.
        template: The zero-shot prompt, with {} for the class name; by default the folder's own.
        table: A CSV of path and label.
        make_test: The share of the training images that becomes the test part, where there is none.

    Returns:
        The card, and its text as TOML.

    Raises:
        BenchError: It is in no known layout, or the name is taken by another dataset.
    """
    folder = resolved(folder)
    found = layout_of(folder, table)
    if (datasets_root() / f"{name}.toml").is_file():
        raise BenchError(f"a shipped dataset is called '{name}' already.", "Give another name with --name.")
    if not NAME.fullmatch(name):
        raise BenchError(f"'{name}' cannot name a dataset.", "Give another name with --name: letters, digits, '.', '_' and '-'.")
    templates = [template] if template else found.templates
    values = {"name": name, "title": f"Images of {folder.name}", "templates": templates, "classes": found.classes}
    source = {"format": found.format, "images": str(folder), "split": str(table or ""), "make_test": make_test}
    text = toml_text({**values, "source": source})
    card = parse_card(text, Path(f"of '{name}'"))
    path = features_root() / name / "card.toml"
    # The folder may have been moved since: where it lies, and what it is called there, is not what the dataset is.
    if path.is_file() and load_card(name).model_copy(update={"source": card.source, "title": card.title}) != card:
        raise BenchError(f"another dataset is called '{name}' already ({path}).", "Give another name with --name.")
    return card, text


def left_out(images: Path, split: Split, form: str) -> dict[str, str]:
    """The files below a dataset's folder that are in no part, and why; hidden ones are not told.

    Where a list says what belongs to the split, images are told, and a folder of others alone as one: more datasets may lie there.
    """
    if form == "cifar" or imagenet_tars(images):
        return {}  # images lie in archives, which are read whole
    used = {item.path for part in split for item in part}
    if form in ARCHIVES:
        used = {shard for path in used for shard in _above(path)}
    endings = ARCHIVES.get(form, () if form == "folders" else SUFFIXES)
    found = {}
    for folder, below, names in os.walk(images):
        below[:] = [name for name in below if not name.startswith(".")]
        there = Path(folder).relative_to(images).as_posix()
        prefix = "" if there == "." else f"{there}/"
        paths = [prefix + name for name in names if not name.startswith(".") and (not endings or name.lower().endswith(endings))]
        left = [path for path in paths if path not in used]
        if form not in {"folders", *ARCHIVES} and prefix and 1 < len(left) == len(paths):
            found[prefix] = f"{len(left)} images, none of them in the split"
        else:
            found |= {path: _why(path, form) for path in left}
    return dict(sorted(found.items()))


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _why(path: str, form: str) -> str:
    if form in ARCHIVES:
        return "not a shard of train, validation or test by its name"
    if form != "folders":
        return "not in the split"
    return (
        "not directly in a class folder"
        if path.lower().endswith(SUFFIXES)
        else f"not an image by its ending (known: {' '.join(SUFFIXES)})"
    )
