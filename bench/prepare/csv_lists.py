"""Lists of images as tables of text: path, label, and perhaps part."""

import csv
from pathlib import Path

from bench.data.cards import Card, prompt_name
from bench.data.splits import Item, Split
from bench.errors import BenchError
from bench.files import read_text
from bench.prepare.folders import PART_OF, PARTS
from bench.prepare.tables import number_of

CSV_PATHS = ("path", "image", "img", "image_path", "filename", "file", "file_name", "filepath")
CSV_LABELS = ("label", "class", "class_name", "target", "category")
CSV_PARTS = ("split", "part", "set", "fold")


def _column(path: Path, names: list[str], known: tuple[str, ...], what: str) -> str:
    found = [name for name in names if name.strip().lower() in known]
    if len(found) != 1:
        told = f"{len(found)} columns of {what}s" if found else f"no column of {what}s"
        raise BenchError(f"{path} has {told}; it has: {', '.join(names)}.", f"Call one {' or '.join(known)}.")
    return found[0]


def csv_rows(path: Path) -> list[tuple[str, str, str]]:
    """The rows of a table of images as (path, label, part): separated by commas, semicolons or tabs, with a heading.

    Raises:
        BenchError: It cannot be read, lacks a column, has a row of another length, or names an unknown part.
    """
    lines = read_text(path, "table").split("\n")
    reader = csv.DictReader(lines, delimiter=max(",;\t", key=lines[0].count), strict=True)
    rows = []
    try:
        names = [name or "" for name in reader.fieldnames or []]
        image, label = _column(path, names, CSV_PATHS, "path"), _column(path, names, CSV_LABELS, "label")
        part = next((name for name in names if name.strip().lower() in CSV_PARTS), None)
        for row in reader:
            if None in row or None in row.values():
                raise BenchError(
                    f"line {reader.line_num} of {path} does not have the {len(names)} fields of its heading.", "Correct it."
                )
            told = row[part].strip().lower() if part else "train"
            if told not in PART_OF:
                raise BenchError(f"line {reader.line_num} of {path} names the part '{told}'.", f"Parts: {', '.join(PART_OF)}.")
            rows.append((row[image].strip(), row[label].strip(), PART_OF[told]))
    except csv.Error as error:
        raise BenchError(f"{path} is not CSV near line {reader.line_num + 1} ({error}).", "Correct it.") from error
    if not rows:
        raise BenchError(f"{path} lists no images.", "Write one line for each, below the heading.")
    return rows


def read_csv(card: Card, images: Path, split: Path) -> Split:
    """A CSV of path and label, and perhaps part; labels are class names or numbers.

    Raises:
        BenchError: A row has no such form.
    """
    del images
    label_of = {prompt_name(name): number for number, name in enumerate(card.classes)}
    items: dict[str, list[Item]] = {part: [] for part in PARTS}
    for number, (path, label, part) in enumerate(csv_rows(split), 1):
        items[part].append(Item(path, number_of(label, label_of, str(split), number)))
    return Split(**items)
